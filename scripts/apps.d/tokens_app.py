"""An application that believes nothing but the gateway's signed assertion.

    tokens_app.py PORT FILE

FILE holds the address of the gateway's key set; it may be written after the start.
"""

import json
import sys
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt

PORT, ADDRESS = int(sys.argv[1]), Path(sys.argv[2])
AUDIENCE = "tokens-app"


@cache
def keys(url):
    return jwt.PyJWKClient(url)


def caller(handler):
    assertion = handler.headers.get("X-Auth-Assertion", "")
    claims = jwt.decode(
        assertion,
        keys(ADDRESS.read_text()).get_signing_key_from_jwt(assertion),
        algorithms=["EdDSA", "ES256"],
        audience="another-app" if handler.path == "/for-another" else AUDIENCE,
        issuer="https://gateway.test",
        options={"require": ["exp", "iat", "sub", "sid"]},
    )
    if claims["token_type"] != "assertion":
        raise jwt.InvalidTokenError("this is no assertion")
    path = handler.path.split("?")[0]
    if claims.get("htm", handler.command) != handler.command or claims.get("htp", path) != path:
        raise jwt.InvalidTokenError("this is for another request")
    return claims


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            status, answer = 200, caller(self)
        except jwt.PyJWTError as error:
            status, answer = 403, {"error": type(error).__name__, "why": str(error)}
        # The test replays it; an application would keep it to itself.
        answer["assertion"] = self.headers.get("X-Auth-Assertion")
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
