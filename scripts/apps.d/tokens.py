"""Signed tokens, with PyJWT on the other side: assertions that an application verifies, and tokens that an issuer signs."""

import importlib.metadata
import json
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from processes import here

JWKS = "/_sessions/.well-known/jwks.json"
UPSTREAM = """
assertion = true
assertion_audience = "tokens-app"
assertion_bind = %s
"""


def run(report, processes):
    report.title(f"PyJWT {importlib.metadata.version('pyjwt')}: assertions that an application verifies with our key set")
    for name, key in (("Ed25519", ed25519.Ed25519PrivateKey.generate()), ("P-256", ec.generate_private_key(ec.SECP256R1()))):
        address = processes.directory / f"key-set-{name}"
        _, port = processes.serve_python("tokens", [str(here("tokens_app.py")), "{port}", str(address)])
        assertions(report, processes, name, key, port, address)
    report.title("PyJWT as an issuer: its tokens open the sessions that they name")
    issuer(report, processes, port)


def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def ask(url, token=None, body=None, **headers):
    """Status and JSON of an answer."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def assertions(report, processes, name, key, port, address):
    check = report.check
    settings = f"[signing]\nkey = '''{pem(key)}'''\n[jwt]\nissuer = \"https://gateway.test\"\naudience = \"gateway\"\n"
    gateway = processes.gateway(port, UPSTREAM % "[]", settings)
    address.write_text(gateway.url + JWKS)
    session = gateway.issue("zoë", roles=["staff", "ops"], name="Zoë Å", email="zoe@example.org")
    status, claims = ask(gateway.url + "/", session["token"])
    seen = {part: claims.get(part) for part in ("sub", "sid", "roles", "name", "email", "iss", "aud")}
    wanted = {"sub": "zoë", "sid": session["id"], "roles": ["staff", "ops"], "name": "Zoë Å", "email": "zoe@example.org", "iss": "https://gateway.test", "aud": "tokens-app"}
    check(f"{name}: the application verifies who is calling", (status, seen) == (200, wanted), seen)
    status, answer = ask(gateway.url + "/for-another", session["token"])
    check(f"{name}: an application with another name refuses it", (status, answer["error"]) == (403, "InvalidAudienceError"), answer["why"])
    head, payload, signature = claims["assertion"].split(".")
    forged = f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    status, answer = ask(f"http://127.0.0.1:{port}/", **{"X-Auth-Assertion": forged})
    check(f"{name}: a changed one is refused by the application", (status, answer["error"]) == (403, "InvalidSignatureError"), answer["why"])
    status, answer = ask(gateway.url + "/", claims["assertion"])
    check(f"{name}: one is no way into the gateway", (status, answer["code"]) == (401, "invalid_token"), answer["detail"])
    check(f"{name}: one is signed for many requests", all(ask(gateway.url + "/", session["token"])[0] == 200 for _ in range(20)) and gateway.metric("gateway_assertions_signed_total") == 1.0)

    node = shutil.which("node")
    if node:
        command = [node, here("tokens_check.js"), gateway.url + JWKS, claims["assertion"], "tokens-app"]
        checked = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30)
        check(f"{name}: node's own crypto verifies it too", checked.returncode == 0 and json.loads(checked.stdout)["sub"] == "zoë", checked.stderr.strip())
    else:
        report.say("     node is not installed: not tried")

    pair = gateway.issue("ann", format="jwt")
    access = jwt.decode(pair["access_token"], jwt.PyJWKClient(gateway.url + JWKS).get_signing_key_from_jwt(pair["access_token"]), algorithms=["EdDSA", "ES256"], audience="gateway", issuer="https://gateway.test")
    check(f"{name}: PyJWT verifies an access token", (access["sub"], access["session_id"]) == ("ann", pair["id"]), ", ".join(access))
    check(f"{name}: it opens the application", ask(gateway.url + "/", pair["access_token"])[1].get("sub") == "ann")
    status, renewed = ask(gateway.url + "/_sessions/refresh", body={"refresh_token": pair["refresh_token"]})
    check(f"{name}: a refresh gives another one", status == 200 and ask(gateway.url + "/", renewed["access_token"])[0] == 200)

    bound = processes.gateway(port, UPSTREAM % '["method", "path"]', settings)
    address.write_text(bound.url + JWKS)
    token = bound.issue("ann")["token"]
    status, claims = ask(bound.url + "/orders?x=1", token)
    seen = (status, claims.get("htm"), claims.get("htp"))
    check(f"{name}: a bound one names method and path", seen == (200, "GET", "/orders"), seen)
    for what, path, body in (("another path", "/other", None), ("another method", "/orders", {})):
        status, answer = ask(f"http://127.0.0.1:{port}{path}", body=body, **{"X-Auth-Assertion": claims["assertion"]})
        check(f"{name}: for {what} the application refuses it", (status, answer["error"]) == (403, "InvalidTokenError"), answer["why"])


def issuer(report, processes, port):
    check = report.check
    secret = secrets.token_urlsafe(48)
    settings = f'[[jwt.keys]]\nalgorithm = "HS256"\nsecret = "{secret}"\n[jwt]\nuser_claim = "user_id"\n'
    gateway = processes.gateway(port, settings=settings)
    session = gateway.issue(42)

    def token(key=secret, **changes):
        claims = {"token_type": "access", "exp": int(time.time()) + 300, "iat": int(time.time()), "jti": secrets.token_hex(16), "user_id": "42", "session_id": session["id"]}
        return jwt.encode({**claims, **changes}, key, algorithm="HS256")

    # The application refuses everybody without an assertion; that it was asked says that the gateway let the token pass.
    status, answer = ask(gateway.url + "/", token())
    check("a token as Django's simplejwt makes it opens its session", (status, answer.get("error")) == (403, "DecodeError"), f"{status} of the application")
    for what, bad, code in (
        ("of another user", token(user_id="43"), "invalid_token"),
        ("that refreshes", token(token_type="refresh"), "invalid_token"),
        ("that has expired", token(exp=int(time.time()) - 1), "token_expired"),
        ("with another secret", token(key=secrets.token_urlsafe(48)), "invalid_token"),
    ):
        status, answer = ask(gateway.url + "/", bad)
        check(f"a token {what} does not", (status, answer["code"]) == (401, code), answer["detail"])
