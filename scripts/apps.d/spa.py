"""Single-page applications: a Flask backend with a JSON login, and plain node with one response header."""

import importlib.metadata
import shutil
import subprocess

from browser import CHROME, Browser, send
from processes import here

FLASK = """
  [[upstream.route]]
  exact = "/"
  auth = "off"
  [[upstream.route]]
  path = "/api/staff"
  roles = ["staff"]
  [[upstream.login]]
  path = "/api/login"
  user = { %s }
  roles = { json = "/user/roles" }
  success = [200]
  deliver = "json"
  [[upstream.logout]]
  path = "/api/logout"
"""
NODE = """
  [[upstream.login]]
  path = "/login"
  user = { header = "X-Session-User" }
"""
PLAIN_COOKIE = """
[token]
cookie = "session"
cookie_secure = false
"""


def run(report, processes):
    report.title(f"Flask {importlib.metadata.version('flask')}: a JSON login whose answer carries the token")
    program, port = processes.serve_python("flask", ["-m", "flask", "--app", str(here("spa_app.py")), "run", "--port", "{port}"])
    for where, field in (("the request", 'request_json = "/username"'), ("the answer", 'json = "/user/id"')):
        flask(report, processes.gateway(port, FLASK % field), where)
    report.check("Flask is still running", program.process.poll() is None)

    node = shutil.which("node")
    report.title("node without a framework: one response header says who logged in")
    if not node:
        report.say("     node is not installed: not tried")
        return
    report.say(f"     node {subprocess.check_output([node, '--version'], text=True).strip()}")
    _, port = processes.serve("node", [node, here("spa_app.js"), "{port}"])
    plain_node(report, processes.gateway(port, NODE, PLAIN_COOKIE))


def flask(report, gateway, where):
    check = report.check
    app = Browser(gateway.port, CHROME)
    check("the page itself needs no session", app.get("/").status == 200)
    answer = app.call("GET", "/api/me")
    check("its calls do: 401 and no redirect", (answer.status, answer.problem) == (401, "missing_token"), answer.brief())
    answer = app.call("POST", "/api/login", {"username": "ann", "password": "wrong"})
    check("a wrong password is Flask's 401", (answer.status, answer.text.strip()) == (401, '{"error":"wrong"}'), answer.brief())

    def log_in(user, password):
        answer = app.call("POST", "/api/login", {"username": user, "password": password})
        return answer, answer.json().get("token", "")

    answer, token = log_in("ann", "correct horse battery")
    check(f"the user from {where}: the answer is Flask's, with a token", answer.status == 200 and answer.json()["user"]["id"] == "ann" and len(token) >= 40 and not answer.set_cookies, f"{answer.status}, {', '.join(answer.json())}")
    bearer = [("Authorization", f"Bearer {token}")]
    me = app.request("GET", "/api/me", headers=bearer, cookies={"theme": "dark"}).json()
    check("Flask sees the user and roles, its own cookies, and no token", me == {"user": "ann", "roles": "staff", "authorization": None, "cookie": "theme=dark"}, me)
    answer = app.request("GET", "/api/staff", headers=bearer)
    check("ann may go where staff may", answer.status == 200, answer.brief())
    _, other = log_in("bob", "another horse battery")
    answer = app.request("GET", "/api/staff", headers=[("Authorization", f"Bearer {other}")])
    check("bob may not", (answer.status, answer.problem) == (403, "role_required"), answer.brief())

    answer = app.request("POST", "/api/logout", b"", headers=bearer)
    check("Flask's logout", answer.status == 204, answer.brief())
    answer = app.request("GET", "/api/me", headers=[*bearer, ("Accept", "application/json"), ("Sec-Fetch-Mode", "cors")])
    check("ends the session", (answer.status, answer.problem) == (401, "session_revoked/logged_out"), answer.brief())


def plain_node(report, gateway):
    check = report.check
    browser = Browser(gateway.port)
    answer = browser.post("/login", {"name": "ann", "password": "wrong"})
    check("a 200 without the header is no login", answer.status == 200 and not answer.set_cookies, answer.brief())
    answer = browser.post("/login", {"name": "ann", "password": "correct horse battery"})
    check("a 200 with it is one, and the header stays inside", answer.status == 200 and "session" in answer.set_cookies and "X-Session-User" not in answer.headers, answer.brief())
    seen = browser.get("/page?a=1&a=2").json()
    headers = dict(zip(map(str.lower, seen["headers"][::2]), seen["headers"][1::2]))
    check("node sees the user and the target as it was, and not our cookie", headers["x-auth-user"] == "ann-7" and seen["url"] == "/page?a=1&a=2" and "cookie" not in headers, f"{headers['x-auth-user']} {seen['url']}")

    token = browser.cookies["session"]
    passed = []
    for method in ("PROPFIND", "REPORT", "MKCOL", "COPY", "LOCK", "PATCH", "OPTIONS", "QUERY"):
        answer = send(gateway.port, method, "/x", [("User-Agent", browser.agent), ("Authorization", f"Bearer {token}")])
        if answer.status == 200 and answer.json()["method"] == method:
            passed.append(method)
        elif method != "QUERY":
            report.say(f"     {method}: {answer.brief()}")
    check("methods beyond the usual ones pass", set(passed) >= {"PROPFIND", "REPORT", "MKCOL", "COPY", "LOCK", "PATCH", "OPTIONS"}, ", ".join(passed))
    answer = send(gateway.port, "TRACE", "/x", [("User-Agent", browser.agent), ("Authorization", f"Bearer {token}")])
    check("but not TRACE, which would echo the token", (answer.status, answer.problem) == (405, "method_not_allowed"), answer.brief())
