"""A browser as far as sessions go: cookies, fetch metadata, forms."""

import http.client
import json
import re
from urllib.parse import urlencode, urlsplit

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


class Answer:
    """A response, read to its end."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode(errors="replace")

    @property
    def location(self):
        return self.headers.get("Location")

    @property
    def set_cookies(self):
        """The Set-Cookie lines by the cookie's name."""
        return {line.split("=", 1)[0]: line for line in self.headers.get_all("Set-Cookie", [])}

    @property
    def problem(self):
        """`code` or `code/reason` of a problem of the gateway."""
        if self.headers.get_content_type() != "application/problem+json":
            return None
        problem = json.loads(self.body)
        return "/".join(part for part in (problem.get("code"), problem.get("reason")) if part)

    def json(self):
        return json.loads(self.body)

    def brief(self):
        """What a line of the report says of it."""
        parts = [str(self.status), self.problem, self.location and f"to {self.location}"]
        parts += [f"sets {name}" for name in self.set_cookies]
        return " ".join(part for part in parts if part)


def send(port, method, target, headers=(), body=None):
    """One request on a connection of its own, with header lines exactly as given, repeated ones too."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = list(headers)
        given = {name.lower() for name, _ in headers}
        connection.putrequest(method, target, skip_host="host" in given, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None and "content-length" not in given:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Browser:
    """Keeps cookies and sends what browsers send. It does not follow redirects: they are what is looked at."""

    def __init__(self, port, agent=FIREFOX):
        self.port = port
        self.agent = agent
        self.cookies = {}
        self.page = f"http://127.0.0.1:{port}/"

    def request(self, method, target, body=None, headers=(), cookies=None):
        own = f"http://127.0.0.1:{self.port}"
        lines = [
            ("User-Agent", self.agent),
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("Accept-Language", "en-US,en;q=0.5"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Referer", self.page),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Mode", "navigate"),
        ]
        if method not in ("GET", "HEAD"):
            lines.append(("Origin", own))
        jar = self.cookies if cookies is None else cookies
        if jar:
            lines.append(("Cookie", "; ".join(f"{name}={value}" for name, value in jar.items())))
        replaced = {name.lower() for name, _ in headers}
        lines = [line for line in lines if line[0].lower() not in replaced] + [line for line in headers if line[1] is not None]
        answer = send(self.port, method, target, lines, body)
        self._keep(answer)
        if method == "GET" and answer.status == 200:
            self.page = own + target
        return answer

    def get(self, target, **options):
        return self.request("GET", target, **options)

    def post(self, target, fields, headers=(), **options):
        """Sends a form."""
        headers = [("Content-Type", "application/x-www-form-urlencoded"), *headers]
        return self.request("POST", target, urlencode(fields).encode(), headers, **options)

    def call(self, method, target, body=None, **options):
        """What a script on the page does: JSON in and out."""
        headers = [("Accept", "application/json"), ("Sec-Fetch-Mode", "cors")]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
            body = json.dumps(body).encode()
        return self.request(method, target, body, headers, **options)

    def follow(self, answer):
        """Goes where a redirect leads; only within this site."""
        location = urlsplit(answer.location)
        assert not location.netloc, answer.location
        return self.get(location.path + (f"?{location.query}" if location.query else ""))

    def _keep(self, answer):
        for name, line in answer.set_cookies.items():
            value = line.split("=", 1)[1].split(";", 1)[0]
            if re.search(r"max-age=0(;|$)", line, re.IGNORECASE) or "01 Jan 1970" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
