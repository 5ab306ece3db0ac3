"""Radicale, a calendar server that believes a header about who is calling."""

import subprocess
import sys

from browser import send

AGENT = ("User-Agent", "DAVx5/4.5-ose")
CALENDAR = b"""<?xml version="1.0" encoding="utf-8"?>
<C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
  <D:set><D:prop><D:displayname>Work</D:displayname></D:prop></D:set>
</C:mkcalendar>"""
EVENT = "\r\n".join(
    ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example//EN", "BEGIN:VEVENT", "UID:one@example.org", "DTSTAMP:20300101T100000Z", "DTSTART:20300101T100000Z", "SUMMARY:Tea", "END:VEVENT", "END:VCALENDAR", ""]
).encode()
WHO = b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:current-user-principal/></D:prop></D:propfind>'
REPORT = b"""<?xml version="1.0" encoding="utf-8"?>
<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
  <D:prop><C:calendar-data/></D:prop>
  <C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter></C:filter>
</C:calendar-query>"""

# Every way in which a client might say that it is bob. WSGI turns `-` into `_`, so some servers cannot tell these apart.
FORGERIES = {
    "X-Remote-User": [("X-Remote-User", "bob")],
    "x-rEmOtE-uSeR": [("x-rEmOtE-uSeR", "bob")],
    "X_Remote_User": [("X_Remote_User", "bob")],
    "X.Remote.User": [("X.Remote.User", "bob")],
    "X-Remote_User": [("X-Remote_User", "bob")],
    "X-Remote-User twice": [("X-Remote-User", "bob"), ("X-Remote-User", "bob")],
    "X-Remote-User and X_REMOTE_USER": [("X-Remote-User", "bob"), ("X_REMOTE_USER", "bob")],
    "X-Remote-User named in Connection": [("Connection", "X-Remote-User"), ("X-Remote-User", "bob")],
    "X-Auth-User": [("X-Auth-User", "bob")],
    "a comma-separated list": [("X-Remote-User", "bob, bob")],
}


def run(report, processes):
    version = subprocess.check_output([sys.executable, "-m", "radicale", "--version"], text=True).strip()
    report.title(f"Radicale {version}: calendars for whom the gateway names in X-Remote-User")
    check = report.check
    storage = processes.directory / "storage"
    radicale, port = processes.serve_python(
        "radicale",
        ["-m", "radicale", "--config", "", "--server-hosts", "127.0.0.1:{port}", "--auth-type", "http_x_remote_user", "--storage-filesystem-folder", str(storage)],
    )
    gateway = processes.gateway(port, settings='[identity]\nuser = "X-Remote-User"\n')
    ann, bob = gateway.issue("ann"), gateway.issue("bob")

    def dav(session, method, path, body=None, headers=()):
        lines = [AGENT, ("Authorization", f"Bearer {session['token']}"), *headers]
        if body is not None:
            lines.append(("Content-Type", "text/calendar" if method == "PUT" else "application/xml"))
        return send(gateway.port, method, path, lines, body)

    def seen_by_radicale():
        return radicale.text().count(" request for ")

    def principal(answer):
        """Who Radicale takes the client for."""
        text = answer.text
        return next((user for user in ("ann", "bob") if f"<href>/{user}/</href></current-user-principal>" in text), None)

    for session, user in ((ann, "ann"), (bob, "bob")):
        answer = dav(session, "PROPFIND", "/", WHO, [("Depth", "0")])
        check(f"PROPFIND: Radicale knows {user}", (answer.status, principal(answer)) == (207, user), f"{answer.status} {principal(answer)}")

    answer = dav(ann, "MKCALENDAR", "/ann/work/", CALENDAR)
    check("MKCALENDAR as ann makes ann's calendar", answer.status == 201 and (storage / "collection-root/ann/work").is_dir(), answer.brief())
    answer = dav(ann, "PUT", "/ann/work/one.ics", EVENT)
    stored = storage / "collection-root/ann/work/one.ics"
    check("PUT as ann lands in it", answer.status == 201 and b"SUMMARY:Tea" in stored.read_bytes(), f"{answer.status}, ETag {answer.headers['ETag'] is not None}")
    answer = dav(ann, "PUT", "/ann/work/one.ics", EVENT, [("If-Match", '"stale"')])
    check("a conditional PUT is decided by Radicale", answer.status == 412, answer.brief())
    answer = dav(ann, "REPORT", "/ann/work/", REPORT, [("Depth", "1")])
    check("REPORT finds the event", answer.status == 207 and "SUMMARY:Tea" in answer.text, answer.brief())
    answer = dav(ann, "MOVE", "/ann/work/one.ics", headers=[("Destination", f"{gateway.url}/ann/work/two.ics")])
    check("MOVE with a Destination of the gateway's own address", answer.status == 201 and stored.with_name("two.ics").exists(), answer.brief())
    for method, body in (("GET", None), ("PUT", EVENT), ("DELETE", None)):
        answer = dav(bob, method, "/ann/work/two.ics", body)
        check(f"bob's {method} of ann's event is refused by Radicale", answer.status in (403, 404), answer.brief())

    for form, headers in FORGERIES.items():
        answer = dav(ann, "PROPFIND", "/", WHO, [("Depth", "0"), *headers])
        check(f"ann who claims to be bob stays ann: {form}", (answer.status, principal(answer)) == (207, "ann"), f"{answer.status} {principal(answer)}")
    answer = dav(ann, "MKCALENDAR", "/bob/stolen/", CALENDAR, [("X-Remote-User", "bob"), ("X_Remote_User", "bob")])
    check("and makes no calendar of bob's", answer.status == 403 and not (storage / "collection-root/bob/stolen").exists(), answer.brief())

    count = seen_by_radicale()
    claims = [("X-Remote-User", "ann"), AGENT]
    for what, headers, code in (
        ("without a session", claims, "missing_token"),
        ("with an unknown token", [*claims, ("Authorization", "Bearer " + "x" * 43)], "unknown_token"),
        ("with Basic, which is Radicale's to judge, and no session", [*claims, ("Authorization", "Basic YW5uOng=")], "missing_token"),
    ):
        answer = send(gateway.port, "PROPFIND", "/ann/", headers, WHO)
        check(f"{what}: refused", (answer.status, answer.problem) == (401, code), answer.brief())
    check("and nothing of it reached Radicale", seen_by_radicale() == count, f"{count} requests before and after")

    answer = dav(ann, "DELETE", f"/_sessions/{ann['id']}")
    check("ann ends her session", answer.status == 200 and answer.json() == {"ended": 1}, answer.text)
    answer = dav(ann, "PROPFIND", "/ann/", WHO)
    check("its next request is refused", (answer.status, answer.problem) == (401, "session_revoked/logged_out"), answer.brief())
    check("and has not reached Radicale either", seen_by_radicale() == count, f"{count} requests before and after")
    check("bob's session is untouched", dav(bob, "PROPFIND", "/bob/", WHO).status == 207)
