"""nilva-session itself and the gateway that stands in for it, asked the same questions by the same client.

Every case is done twice: against a Django project with the real package, and against the gateway with `[compat] nilva = true`
in front of the same project after the move. Status, WWW-Authenticate, Allow, media type, sentence and keys of the body
must agree. Where the package has a defect, or the gateway differs on purpose, what each side does is written down here,
with the row of docs/compat.md.
"""

import importlib.metadata
import json
import re
import sqlite3
import subprocess
import sys
import time

from browser import CHROME, FIREFOX, send
from processes import here

ACTIVE = "/sessions/active"
PING = "/api/ping"
COMPAT = "[compat]\nnilva = true\n"
EXACT = '[policy.user_agent]\nmode = "exact"\n'
AGENT = CHROME
DEVICES = [
    FIREFOX,
    CHROME,
    f"{CHROME} Edg/140.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.5.0",
    "python-requests/2.31.0",
]
BEFORE = """
  [[upstream.route]]
  path = "/"
  auth = "off"
"""


class Session:
    def __init__(self, identifier, token, more=None):
        self.id = identifier
        self.token = token
        self.more = more or {}


class Side:
    """One of the two, as a client sees it."""

    name = ""

    def __init__(self, port, users):
        self.port = port
        self.users = users

    def ask(self, method, target, authorization=None, agent=AGENT, headers=(), body=None):
        lines = [("Accept", "application/json"), *headers]
        if agent is not None:
            lines.append(("User-Agent", agent))
        if authorization is not None:
            lines.append(("Authorization", authorization))
        return send(self.port, method, target, lines, body)

    def as_(self, session, method="GET", target=ACTIVE, **options):
        return self.ask(method, target, f"Token {session.token}", **options)

    def alive(self, *sessions):
        """Which of these are good for a request to the application."""
        return [self.as_(session, target=PING).status == 200 for session in sessions]


class Seed(Side):
    name = "nilva-session"

    def __init__(self, port, users, database):
        super().__init__(port, users)
        self.database = database

    def login(self, user="ann", agent=AGENT, seconds=3600):
        body = json.dumps({"user": self.users[user], "seconds": seconds}).encode()
        answer = self.ask("POST", "/api/login", agent=agent, headers=[("Content-Type", "application/json")], body=body)
        assert answer.status == 200, answer.text
        made = answer.json()
        return Session(made["id"], made["token"], made)

    def change(self, sql, *values):
        change(self.database, sql, *values)

    def expire(self, session):
        self.change("UPDATE user_session SET expire_at = '2020-01-02 03:04:05.678901' WHERE id = ?", session.id.replace("-", ""))

    def disable(self, user):
        self.change("UPDATE auth_user SET is_active = 0 WHERE id = ?", self.users[user])


class Ours(Side):
    name = "gateway"

    def __init__(self, gateway, users, database):
        super().__init__(gateway.port, users)
        self.gateway = gateway
        self.database = database

    def login(self, user="ann", agent=AGENT, seconds=3600):
        made = self.gateway.issue(self.users[user], user_agent=agent, ip="127.0.0.1", lifetime=f"{int(seconds * 1000)}ms")
        return Session(made["id"], made["token"], made)

    def change(self, sql, *values):
        change(self.database, sql, *values)

    def expire(self, session):
        identifier = bytes.fromhex(session.id.replace("-", ""))
        self.change("UPDATE sessions SET expires_at = 1577934245678 WHERE id = ?", identifier)

    def disable(self, user):
        self.change("UPDATE users SET enabled = 0 WHERE id = ?", str(self.users[user]))


def change(database, sql, *values):
    """Changes a row that neither side has cached yet, or what each of them looks at anyway."""
    with sqlite3.connect(database, timeout=10) as connection:
        changed = connection.execute(sql, values).rowcount
    connection.close()
    assert changed == 1, (sql, values)


CASES = []


def case(row, what, seed=None, ours=None):
    """A question to both sides. Both must answer alike, unless `seed` and `ours` say what each of them answers."""

    def add(question):
        CASES.append((row, what, question, seed, ours))
        return question

    return add


def look(answer):
    """What of an answer must agree."""
    seen = {
        "status": answer.status,
        "challenge": answer.headers.get("WWW-Authenticate"),
        "allow": answer.headers.get("Allow") if answer.status == 405 else None,
    }
    # Django answers what no view has taken with a page.
    if answer.body and "json" in (answer.headers.get_content_type() or ""):
        seen["type"] = answer.headers.get_content_type()
        body = answer.json()
        if isinstance(body, dict):
            seen["keys"] = set(body)
            seen["detail"] = re.sub(r"\d", "0", body["detail"]) if isinstance(body.get("detail"), str) else None
            seen["messages"] = body.get("messages")
            if "messages" in body:
                seen["code"] = body["code"]
        else:
            seen["keys"] = set().union(*body) if body else set()
    return seen


def differences(seed, ours):
    """Where two looks differ; more keys are allowed here."""
    found = []
    for name in sorted(set(seed) | set(ours)):
        there, here_ = seed.get(name), ours.get(name)
        same = there <= here_ if name == "keys" and there is not None and here_ is not None else there == here_
        if not same:
            found.append(f"{name}: {there!r} there, {here_!r} here")
    return found


def brief(seen):
    if not isinstance(seen, dict) or "status" not in seen:
        return str(seen)
    return " ".join(str(part) for part in (seen["status"], seen.get("detail")) if part is not None)


# --- Credentials ---------------------------------------------------------------------------------------------------------


def of_header(authorization):
    return lambda side: look(side.ask("GET", PING, authorization))


case("N-26", "no Authorization")(of_header(None))
case("N-26", "another scheme")(of_header("Basic YTpi"))
case("N-25", "Token alone")(of_header("Token"))
case("N-25", "Token with two words")(of_header("Token a b"))
case("N-25", "Token that is no UTF-8")(of_header(b"Token \xff\xfe"))
case("N-27", "unknown key of fifty characters")(of_header("Token " + "q" * 50))
case("N-27", "unknown key that is too short")(of_header("Token short"))
case("N-37", "Bearer alone")(of_header("Bearer"))
case("N-37", "Bearer with two words")(of_header("Bearer a b"))
case("N-38", "Bearer that is no JWT")(of_header("Bearer nonsense"))
case("N-38", "Bearer with a JWT that nobody signed")(of_header("Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"))
case(
    "N-37",
    "bearer in lower case: known there in one case only",
    seed="401 Authentication credentials were not provided.",
    ours="401 Given token not valid for any token type",
)(lambda side: brief(look(side.ask("GET", PING, "bearer nonsense"))))


@case("N-24", "the keyword Token in every case")
def keyword(side):
    session = side.login()
    return [look(side.ask("GET", PING, f"{word} {session.token}")) for word in ("Token", "token", "TOKEN", "tOkEn")]


@case("N-24", "the application is told who it is")
def told(side):
    return side.as_(side.login("ben"), target=PING).json() == {"user": side.users["ben"]}


@case("N-28", "a session that its user ended")
def ended(side):
    gone, other = side.login(), side.login()
    side.as_(other, "DELETE", f"{ACTIVE}?token_id={gone.id}")
    return [look(side.as_(gone, target=target)) for target in (PING, ACTIVE)]


@case("N-29", "an expired session")
def expired(side):
    session = side.login()
    side.expire(session)
    return [look(side.as_(session, target=target)) for target in (PING, ACTIVE)]


@case("N-21", "a session that expires while it is in use", seed=200, ours=401)
def expires_in_use(side):
    session = side.login(seconds=1.5)
    assert side.as_(session, target=PING).status == 200
    time.sleep(1.6)
    return side.as_(session, target=PING).status


@case("N-30", "another User-Agent, then the right one: suspended for good")
def agent(side):
    session = side.login()
    before = side.as_(session, target=PING).status
    return [before, look(side.as_(session, target=PING, agent=FIREFOX)), look(side.as_(session, target=PING))]


@case("N-30", "no User-Agent")
def no_agent(side):
    session = side.login()
    return [look(side.as_(session, target=PING, agent=None)), look(side.as_(session, target=PING))]


@case("N-35", "a user who was disabled", seed="200", ours="401 User inactive or deleted.")
def disabled(side):
    session = side.login("carl")
    side.disable("carl")
    return brief(look(side.as_(session, target=PING)))


# --- GET PREFIX/active ---------------------------------------------------------------------------------------------------


@case("N-41", "GET: status, media type and keys of the rows")
def listed(side):
    return look(side.as_(side.login()))


@case("N-41", "HEAD")
def head(side):
    answer = side.as_(side.login(), "HEAD")
    return [look(answer), answer.headers.get_content_type()]


@case("N-41", "the types of a row's values, the keys of its device, and the form of its times")
def row_types(side):
    session = side.login("dora")
    row = next(row for row in side.as_(session).json() if row["session_id"] == session.id)
    told = {key: type(row[key]).__name__ for key in ("session_id", "user_id", "user_agent_data", "last_online", "last_ip", "created_at")}
    # The project's time zone may be any; the gateway's is UTC.
    iso = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)"
    times = [bool(re.fullmatch(iso, row[key])) for key in ("last_online", "created_at")]
    keys = list(row["user_agent_data"])
    return told, keys, times, row["user_id"] == side.users["dora"], row["last_ip"]


@case("N-22", "the devices of browsers, telephones, tablets and programs")
def device(side):
    told = []
    for agent in DEVICES:
        session = side.login("dora", agent)
        rows = side.as_(session, agent=agent).json()
        told.append(next(row["user_agent_data"] for row in rows if row["session_id"] == session.id))
    return told


@case("N-41", "whose sessions are listed", seed="everybody's", ours="one's own")
def whose(side):
    foreign, own = side.login("ben"), side.login("ann")
    rows = side.as_(own).json()
    assert own.id in [row["session_id"] for row in rows]
    return "everybody's" if foreign.id in [row["session_id"] for row in rows] else "one's own"


@case("N-41", "one's own, last used first")
def order(side):
    sessions = [side.login("erik") for _ in range(4)]
    rows = [row["session_id"] for row in side.as_(sessions[-1]).json()]
    return [sessions.index(session) for row in rows for session in sessions if session.id == row]


@case("N-41", "expired sessions are listed", seed=True, ours=False)
def lists_expired(side):
    dead, session = side.login("fred"), side.login("fred")
    side.expire(dead)
    return dead.id in [row["session_id"] for row in side.as_(session).json()]


case("N-45", "GET without a session")(lambda side: look(side.ask("GET", ACTIVE)))
case("N-41", "active/ with a slash: 404")(lambda side: [side.as_(side.login(), target=f"{ACTIVE}/").status, side.ask("GET", f"{ACTIVE}/").status])


@case("N-45", "POST, PUT and PATCH")
def other_methods(side):
    session = side.login()
    return [look(side.as_(session, method)) for method in ("POST", "PUT", "PATCH")] + [look(side.ask("POST", ACTIVE))]


@case("N-40", "OPTIONS, with a session and without")
def options(side):
    answer = side.as_(side.login(), "OPTIONS")
    seen = (answer.status, answer.headers.get("Allow"), answer.json()["name"], sorted(answer.json()))
    return seen, look(side.ask("OPTIONS", ACTIVE))


# --- DELETE PREFIX/active ------------------------------------------------------------------------------------------------


def deleting(side, count, query):
    """What remains of some sessions after the first one's call."""
    sessions = [side.login() for _ in range(count)]
    side.alive(*sessions)
    target = f"{ACTIVE}{query(sessions) if callable(query) else query}"
    answer = side.as_(sessions[0], "DELETE", target)
    return answer.status, len(answer.body), side.alive(*sessions)


@case("N-43", "DELETE of two others by their ids")
def delete_some(side):
    return deleting(side, 4, lambda all_: f"?token_id={all_[1].id}&token_id={all_[3].id}")


@case("N-44", "DELETE without ids: all, the current one included")
def delete_all(side):
    return deleting(side, 3, "")


@case("N-43", "DELETE of one's own id", seed=(204, 0, [False, False, False]), ours=(204, 0, [False, True, True]))
def delete_own(side):
    return deleting(side, 3, lambda all_: f"?token_id={all_[0].id}")


@case("N-43", "DELETE of one's own id and another", seed=(204, 0, [True, False, True]), ours=(204, 0, [False, False, True]))
def delete_own_and_other(side):
    return deleting(side, 3, lambda all_: f"?token_id={all_[0].id}&token_id={all_[1].id}")


@case("N-45", "DELETE of somebody else's id: 204, nothing changes")
def delete_foreign(side):
    foreign = side.login("ben")
    done = deleting(side, 2, f"?token_id={foreign.id}")
    return done, side.alive(foreign)


@case("N-45", "DELETE of an id that is nobody's")
def delete_nobodys(side):
    return deleting(side, 2, "?token_id=00000000-0000-4000-8000-000000000000")


@case("N-45", "DELETE of an id that is no UUID", seed=(500, [True, True]), ours=(400, [True, True]))
def delete_nonsense(side):
    status, _, alive = deleting(side, 2, "?token_id=nonsense")
    return status, alive


@case("N-45", "DELETE of ids with a comma between them", seed=(500, [True, True]), ours=(400, [True, True]))
def delete_comma(side):
    status, _, alive = deleting(side, 2, lambda all_: f"?token_id={all_[0].id},{all_[1].id}")
    return status, alive


@case("N-44", "DELETE with keep_current=true, which is new", seed=(204, [False, False, False]), ours=(204, [True, False, False]))
def delete_others(side):
    status, _, alive = deleting(side, 3, "?keep_current=true")
    return status, alive


@case("N-44", "DELETE with a misspelt parameter", seed=(204, [False, False]), ours=(400, [True, True]))
def delete_misspelt(side):
    status, _, alive = deleting(side, 2, lambda all_: f"?token_ids={all_[1].id}")
    return status, alive


case("N-45", "DELETE without a session")(lambda side: look(side.ask("DELETE", ACTIVE)))


# --- The run -------------------------------------------------------------------------------------------------------------


def run(report, processes):
    version = importlib.metadata.version
    report.title(
        f"nilva-session {version('nilva-session')} (Django {version('django')}, Django REST framework "
        f"{version('djangorestframework')}, simplejwt {version('djangorestframework-simplejwt')}) and the gateway, side by side"
    )
    database = processes.directory / "project.sqlite3"
    app = str(here("nilva_app.py"))
    environment = {"DATABASE": str(database)}
    manage = [sys.executable, "-B", app]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], env=environment, check=True)
    names = ["ann", "ben", "carl", "dora", "erik", "fred"]
    users = json.loads(subprocess.check_output([*manage, "users", *names], env=environment, text=True))

    server = [app, "runserver", "--noreload", "127.0.0.1:{port}"]
    _, seed_port = processes.serve_python("nilva-session", server, environment=environment)
    _, moved_port = processes.serve_python("moved", server, environment={**environment, "MOVED": "1"})
    number = len(processes.programs)
    gateway = processes.gateway(moved_port, settings=COMPAT + EXACT)
    seed = Seed(seed_port, users, database)
    ours = Ours(gateway, users, processes.directory / f"sessions-{number}.db")
    alike = differ = 0
    for row, what, question, there, here_ in CASES:
        same = compare(report, row, what, question(seed), question(ours), there, here_)
        alike, differ = alike + same, differ + (not same)
    report.say(f"     {alike} cases alike, {differ} different on purpose")

    front = processes.gateway(seed_port, BEFORE, "[token]\nforward = true\n")
    before = Side(front.port, users)
    session = seed.login("ben")
    for target in (PING, ACTIVE):
        seen = [look(side.as_(session, target=target)) for side in (seed, before)]
        found = differences(*seen)
        report.check(f"before the move, with the gateway in front and everything passed on: {target}", not found, "; ".join(found) or brief(seen[1]))

    _, jwt_port = processes.serve_python("jwt-first", server, environment={**environment, "FIRST": "Bearer"})
    gateway = processes.gateway(moved_port, settings=COMPAT + 'challenge = "Bearer"\n')
    seed, ours = Seed(jwt_port, users, database), Side(gateway.port, users)
    for authorization in (None, "Token short", "Bearer nonsense"):
        ask = of_header(authorization)
        compare(report, "N-40", f"the JWT class first: {authorization or 'no Authorization'}", ask(seed), ask(ours), None, None)


def compare(report, row, what, seed, ours, there, here_):
    """One line of the table; whether both sides were to be alike."""
    if there is None and here_ is None:
        found = []
        for one, other in zip(*(seen if isinstance(seen, (list, tuple)) else [seen] for seen in (seed, ours)), strict=True):
            if isinstance(one, dict) and isinstance(other, dict) and "status" in one:
                found += differences(one, other)
            elif one != other:
                found.append(f"{one!r} there, {other!r} here")
        first = seed[-1] if isinstance(seed, list) else seed[0] if isinstance(seed, tuple) else seed
        report.check(f"{row:5} alike    {what}", not found, "; ".join(found) or brief(first))
        return True
    good = (seed, ours) == (there, here_)
    report.check(f"{row:5} differs  {what}", good, f"{seed} there, {ours} here")
    return False
