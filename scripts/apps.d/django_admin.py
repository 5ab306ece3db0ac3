"""Django's admin, exactly as `startproject` makes it, behind a gateway that watches its login."""

import os
import re
import subprocess
import sys

from browser import CHROME, Browser

PASSWORD = "correct horse battery"
HOOKS = """
  [[upstream.route]]
  path = "/static/"
  auth = "off"
  [[upstream.login]]
  path = "/admin/login/"
  user = { form = "username" }
  sets_cookie = "sessionid"
  [[upstream.logout]]
  path = "/admin/logout/"
  [[upstream.password_changed]]
  path = "/admin/password_change/"
"""
PLAIN_COOKIE = """
[token]
cookie = "session"
cookie_secure = false
"""
CREATED = "gateway_sessions_created_total"
USERS = "/admin/auth/user/"


def run(report, processes):
    django, port = start(processes)
    version = subprocess.check_output([sys.executable, "-m", "django", "--version"], text=True).strip()
    report.title(f"Django {version}: the admin's own login, logout and password change")
    login_and_logout(report, processes, port)
    report.title("Django: one session a user")
    one_session_a_user(report, processes, port)
    report.title("Django: the default cookie")
    default_cookie(report, processes, port)
    report.check("Django is still running", django.process.poll() is None)


def start(processes, settings=""):
    """A new project with one superuser; no file of it is touched but for `settings`, which are added."""
    manage = [sys.executable, "-B", "manage.py"]
    project = processes.directory / "project"
    project.mkdir()
    environment = {
        "DJANGO_SUPERUSER_USERNAME": "ann",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "DJANGO_SUPERUSER_EMAIL": "ann@example.org",
    }
    subprocess.run([sys.executable, "-B", "-m", "django", "startproject", "site1", "."], cwd=project, check=True)
    with open(project / "site1/settings.py", "a") as file:
        file.write(settings)
    for command in (
        [*manage, "migrate", "--verbosity", "0"],
        [*manage, "createsuperuser", "--noinput", "--verbosity", "0"],
    ):
        subprocess.run(command, cwd=project, env={**os.environ, **environment}, check=True)
    return processes.serve_python("django", ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"], project)


def hidden_token(page):
    """The token in Django's form."""
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


def log_in(browser, password=PASSWORD, user="ann", **options):
    form = browser.get("/admin/login/?next=/admin/")
    if form.status == 302:
        # Django leads whom it knows away from the form; another one has the same hidden token.
        form = browser.follow(form)
    fields = {
        "csrfmiddlewaretoken": hidden_token(form),
        "username": user,
        "password": password,
        "next": "/admin/",
    }
    return browser.post("/admin/login/?next=/admin/", fields, **options)


def login_and_logout(report, processes, port):
    check = report.check
    gateway = processes.gateway(port, HOOKS, PLAIN_COOKIE)
    browser = Browser(gateway.port)

    answer = browser.get("/admin/")
    check("without a session the admin leads to its login", (answer.status, answer.location) == (302, "/admin/login/?next=/admin/"), answer.brief())
    answer = browser.call("GET", USERS)
    check("a script gets a 401 it can read", (answer.status, answer.problem) == (401, "missing_token"), answer.brief())
    answer = browser.get("/static/admin/css/base.css")
    check("static files need no session", answer.status == 200 and len(answer.body) > 1000, f"{answer.status}, {len(answer.body)} bytes")

    form = browser.get("/admin/login/?next=/admin/")
    check("the login form loads with Django's CSRF cookie", form.status == 200 and "csrftoken" in form.set_cookies, form.brief())
    answer = log_in(browser, "wrong")
    check("a wrong password shows the form again and sets no cookie of ours", answer.status == 200 and "session" not in answer.set_cookies and "Please enter the correct" in answer.text, answer.brief())
    answer = log_in(browser, headers=[("Origin", "https://evil.example")])
    check("Django refuses a login from another origin", answer.status == 403 and "CSRF" in answer.text, answer.brief())
    check("and no session was created by either", gateway.metric(CREATED) == 0, f"{gateway.metric(CREATED):.0f} created")

    answer = log_in(browser)
    cookie = answer.set_cookies.get("session", "")
    check("the right password logs in, with Django's cookie and ours", answer.status == 302 and {"sessionid", "session"} <= set(answer.set_cookies), answer.brief())
    check("our cookie is HttpOnly, Lax, for every path, and lives as long as the session", all(part in cookie for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=1209600")) and "Secure" not in cookie, cookie.split(";", 1)[-1].strip())
    check("the browser arrives at the admin", "Site administration" in browser.follow(answer).text)
    answer = browser.get(USERS)
    check("a page of the admin opens", answer.status == 200 and "Select user to change" in answer.text, answer.brief())

    only_django = {name: value for name, value in browser.cookies.items() if name != "session"}
    answer = browser.get(USERS, cookies=only_django)
    check("with Django's cookie alone nothing opens", answer.status == 302 and answer.location.startswith("/admin/login/"), answer.brief())
    answer = browser.call("GET", USERS, cookies=only_django)
    check("nor for a script", (answer.status, answer.problem) == (401, "missing_token"), answer.brief())
    answer = browser.get(USERS, cookies={"session": browser.cookies["session"]})
    check("with ours alone Django has its say", answer.status == 302 and answer.location == f"/admin/login/?next={USERS}" and "Django" not in answer.text, answer.brief())

    page = browser.get("/admin/auth/user/add/")
    fields = {"csrfmiddlewaretoken": hidden_token(page), "username": "bob", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    answer = browser.post("/admin/auth/user/add/", fields, headers=[("Origin", "https://evil.example")])
    check("Django's check of the Origin sees the client's", answer.status == 403, answer.brief())
    answer = browser.post("/admin/auth/user/add/", fields)
    check("a form of the admin is saved", answer.status == 302 and "/change/" in answer.location and "added successfully" in browser.follow(answer).text, answer.brief())

    listed = browser.call("GET", "/_sessions").json()["sessions"]
    check("/_sessions lists the session", [(row["current"], row["device"]["browser"], row["device"]["os"], row["last_ip"]) for row in listed] == [(True, "Firefox", "Linux", "127.0.0.1")], f"{listed[0]['device']['browser']} on {listed[0]['device']['os']}, current")

    before = browser.cookies["session"]
    answer = log_in(browser)
    replay = browser.call("GET", USERS, cookies={**browser.cookies, "session": before})
    check("a second login of the browser gets a new token, and the old one is dead", browser.cookies["session"] != before and replay.problem == "session_revoked/replaced", replay.brief())

    other = Browser(gateway.port, CHROME)
    log_in(other)
    listed = browser.call("GET", "/_sessions").json()["sessions"]
    check("a second browser is listed beside the first", [row["device"]["browser"] for row in listed] == ["Chrome", "Firefox"] and [row["current"] for row in listed] == [False, True], ", ".join(row["device"]["browser"] for row in listed))

    changed = "another horse battery"
    answer = change_password(browser, changed, "something else")
    check("a password change that Django refuses ends nothing", answer.status == 200 and other.get(USERS).status == 200, answer.brief())
    answer = change_password(browser, changed, changed)
    check("Django changes the password", (answer.status, answer.location) == (302, "/admin/password_change/done/"), answer.brief())
    check("the session that changed it goes on", browser.get(USERS).status == 200)
    answer = other.call("GET", USERS)
    check("the other one is ended", (answer.status, answer.problem) == (401, "session_revoked/password_changed"), answer.brief())
    answer = other.get(USERS)
    check("and its browser led to the login", answer.status == 302 and answer.location.startswith("/admin/login/"), answer.brief())

    kept = dict(browser.cookies)
    answer = browser.get("/admin/logout/")
    check("a GET of the logout, which Django refuses, ends nothing", answer.status == 405 and browser.get(USERS).status == 200, answer.brief())
    answer = browser.post("/admin/logout/", {"csrfmiddlewaretoken": "x" * 64})
    check("nor does a forged form, which Django refuses too", answer.status == 403 and browser.get(USERS).status == 200, answer.brief())
    answer = browser.post("/admin/logout/", {"csrfmiddlewaretoken": hidden_token(browser.get("/admin/"))})
    check("Django's logout clears our cookie", answer.status == 200 and "Max-Age=0" in answer.set_cookies.get("session", ""), answer.brief())
    answer = browser.call("GET", USERS, cookies=kept)
    check("and ends the session: a kept copy of the cookies is refused", (answer.status, answer.problem) == (401, "session_revoked/logged_out"), answer.brief())
    change_back(browser, changed)


def change_password(browser, new, repeated, old=PASSWORD):
    form = browser.get("/admin/password_change/")
    fields = {"csrfmiddlewaretoken": hidden_token(form), "old_password": old, "new_password1": new, "new_password2": repeated}
    return browser.post("/admin/password_change/", fields)


def change_back(browser, changed):
    log_in(browser, changed)
    assert change_password(browser, PASSWORD, PASSWORD, changed).status == 302


def one_session_a_user(report, processes, port):
    check = report.check
    gateway = processes.gateway(port, HOOKS, PLAIN_COOKIE + "[policy.max_sessions]\ndefault = 1\n")
    first, second = Browser(gateway.port), Browser(gateway.port, CHROME)
    log_in(first)
    check("the first browser is in", first.get(USERS).status == 200)
    log_in(second)
    check("the second browser is in", second.get(USERS).status == 200)
    answer = first.call("GET", USERS)
    check("its login ended the first's session, whose script is told so", (answer.status, answer.problem) == (401, "session_evicted/evicted"), answer.brief())
    answer = first.get(USERS)
    check("and whose browser is led to the login", answer.status == 302 and answer.location.startswith("/admin/login/"), answer.brief())
    answer = first.follow(answer)
    check("which shows its form, though Django still knows the browser's own session", answer.status == 200 and hidden_token(answer), answer.brief())
    listed = second.call("GET", "/_sessions").json()["sessions"]
    check("one session is left", [row["current"] for row in listed] == [True], f"{len(listed)} listed")
    answer = log_in(first)
    check("the first may log in again, which ends the second", answer.status == 302 and first.get(USERS).status == 200 and second.call("GET", USERS).problem == "session_evicted/evicted", answer.brief())


def default_cookie(report, processes, port):
    check = report.check
    gateway = processes.gateway(port, HOOKS)
    browser = Browser(gateway.port)
    answer = log_in(browser)
    cookie = answer.set_cookies.get("__Host-session", "")
    check("the login sets __Host-session with Secure and without a domain", "Secure" in cookie and "Path=/" in cookie and "domain" not in cookie.lower(), cookie.split(";", 1)[-1].strip())
    answer = browser.get(USERS)
    check("a client that sends it is in", answer.status == 200 and "Select user to change" in answer.text, answer.brief())
    thief = Browser(gateway.port, CHROME)
    thief.cookies = dict(browser.cookies)
    answer = thief.call("GET", USERS)
    check("both cookies in another browser open nothing", (answer.status, answer.problem) == (401, "session_suspended/user_agent_changed"), answer.brief())
