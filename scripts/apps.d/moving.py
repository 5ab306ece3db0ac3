"""People who are logged in at Django, and clients of nilva-session, when a gateway is put in front: nobody logs in again."""

import json
import re
import subprocess
import sys

import django_admin
from browser import CHROME, Browser, send
from django_admin import HOOKS, PASSWORD, PLAIN_COOKIE, USERS, change_password, log_in
from processes import wait_until

# What the packages' documentation asks for; the rest of the project is as `startproject` makes it.
SETTINGS = """
INSTALLED_APPS += ["single_session", "rest_framework", "nilva_session"]
SINGLE_USER_SESSION = False
LOGOUT_ALL_SESSIONS = False
"""
TOKEN = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from nilva_session.models import UserSession
for active in (True, False):
    session = UserSession.objects.create(user=User.objects.get(username="ann"), last_ip="192.0.2.7", user_agent="client/1.0",
                                         expire_at=timezone.now() + timedelta(days=1), is_active=active)
    print(session.id, session.key)
"""


def run(report, processes):
    django, port = django_admin.start(processes, SETTINGS)
    project = processes.directory / "project"
    secret = re.search(r"SECRET_KEY = '(.+)'", (project / "site1/settings.py").read_text())[1]
    (processes.directory / "secret").write_text(secret)

    report.title("Django's own sessions go on behind a gateway")
    stays, leaves, nobody = Browser(port), Browser(port, CHROME), Browser(port)
    log_in(leaves)
    log_in(stays)
    changed = "another horse battery"
    change_password(stays, changed, changed)
    nobody.get("/admin/login/")
    report.check("two browsers have logged in at Django, and one has changed the password", "sessionid" in leaves.cookies and stays.get(USERS).status == 200)

    gateway = processes.gateway(port, HOOKS, PLAIN_COOKIE + 'former_cookie = "sessionid"\n')
    for browser in (stays, leaves, nobody):
        browser.port = gateway.port
    answer = stays.get(USERS)
    report.check("the gateway does not know the browser yet", answer.status == 302, answer.brief())
    database = ["--from", f"sqlite:{project}/db.sqlite3"]
    django_session = ["import", "django", *database, "--user-column", "username", "--secret-key", f"file:{processes.directory}/secret"]
    told = command(processes, gateway, *django_session, "--dry-run")
    report.check("a dry run tells what would be done", (told["created"], told["logged_out"]) == (1, 1), told)
    again = stays.get(USERS)
    told = command(processes, gateway, *django_session)
    report.check("the session of the new password is taken over, that of the old one is not", (told["created"], told["logged_out"]) == (1, 1) and again.status == 302, told)

    # What was unknown a moment ago is not asked for again at once.
    wait_until("the session is known", lambda: stays.get(USERS).status == 200)
    answer = stays.get(USERS)
    report.check("the browser goes on where it was, without a login", answer.status == 200 and "Select user to change" in answer.text and not {"session", "sessionid"} & set(answer.set_cookies), answer.brief())
    answer = leaves.get(USERS)
    report.check("the other one is led to the login", answer.status == 302 and answer.location.startswith("/admin/login/"), answer.brief())
    listed = command(processes, gateway, "sessions", "list", "--user", "ann")["sessions"]
    report.check("the session is listed, bound to the browser that used it first", [row["device"]["browser"] for row in listed] == ["Firefox"], listed[0]["id"])
    answer = send(gateway.port, "GET", USERS, [("Cookie", f"sessionid={stays.cookies['sessionid']}"), ("User-Agent", "thief/1.0"), ("Accept", "application/json")])
    report.check("and suspended when another program uses it", answer.problem == "session_suspended/user_agent_changed", answer.brief())
    command(processes, gateway, "sessions", "reactivate", listed[0]["id"])

    page = stays.get(USERS)
    answer = stays.post("/admin/logout/", {"csrfmiddlewaretoken": django_admin.hidden_token(page)})
    state = command(processes, gateway, "sessions", "show", listed[0]["id"])
    report.check("the app's logout ends it", (state["state"], state["reason"]) == ("ended", "logged_out"), f"{state['state']}: {state['reason']}")
    answer = log_in(stays, changed)
    report.check("the next login has both cookies", {"sessionid", "session"} <= set(answer.set_cookies) and stays.get(USERS).status == 200, answer.brief())
    told = command(processes, gateway, *django_session)
    # The new login's session of Django is taken over too: it is one, and nobody says that the gateway had its part in it.
    report.check("a second import brings back nothing that has ended", command(processes, gateway, "sessions", "show", listed[0]["id"])["state"] == "ended", told)

    report.title("clients of nilva-session go on with their tokens")
    rows = subprocess.check_output([sys.executable, "-B", "manage.py", "shell", "-v", "0", "-c", TOKEN], cwd=project, text=True).split()
    (id, key), (ended_id, ended) = rows[0:2], rows[2:4]
    def ask(token):
        return send(gateway.port, "GET", "/_sessions/current", [("Authorization", f"Token {token}"), ("User-Agent", "client/1.0")])
    report.check("the gateway does not know the token yet", ask(key).problem == "unknown_token")
    told = command(processes, gateway, "import", "nilva", *database)
    report.check("both rows are taken over", told["created"] == 2, told)
    wait_until("the token is known", lambda: ask(key).status == 200)
    answer = ask(key).json()
    report.check("the token goes on, for the session of the same id", answer["id"] == id and answer["device"]["browser"] == "client", answer["id"])
    report.check("the inactive one does not", ask(ended).problem == "session_revoked/logged_out", ask(ended).brief())
    report.check("Django is still running", django.process.poll() is None)


def command(processes, gateway, *arguments):
    """What a command on the gateway's settings says to programs."""
    line = [processes.gateway_program, *arguments, "--json", "--config", gateway.settings]
    return json.loads(subprocess.check_output([str(part) for part in line], text=True))
