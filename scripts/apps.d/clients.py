"""Clients of all kinds through the gateway: with a session they get through, and without one they do not."""

import datetime
import importlib.metadata
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import httpx
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from processes import here
from spa import PLAIN_COOKIE

UPSTREAM = """
  [[upstream.route]]
  path = "/report"
  auth = "off"
  [[upstream.login]]
  path = "/login"
  user = { header = "X-Session-User" }
"""


def run(report, processes):
    _, port = processes.serve_python("clients", [str(here("clients_app.py")), "{port}"])
    certificate, key = self_signed(processes.directory)
    plain = processes.gateway(port, UPSTREAM, PLAIN_COOKIE)
    secure = processes.gateway(port, UPSTREAM, f'[[server.tls]]\ncert = "{certificate}"\nkey = "{key}"\n')
    secure.certificate = certificate
    curl(report, plain, secure, certificate)
    python(report, plain, secure, certificate)
    node(report, processes, plain)
    chromium(report, processes, port)


def self_signed(directory):
    """A certificate for localhost that vouches for itself, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "tls.pem", directory / "tls.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files[1].chmod(0o600)
    return files


def curl(report, plain, secure, certificate):
    check = report.check
    report.title(subprocess.check_output(["curl", "--version"], text=True).split(" (")[0])
    for version, option, gateway, scheme in (
        ("1.0", "--http1.0", plain, "http"),
        ("1.1", "--http1.1", plain, "http"),
        ("2 by prior knowledge", "--http2-prior-knowledge", plain, "http"),
        ("2 by Upgrade, which is not taken up: 1.1", "--http2", plain, "http"),
        ("1.1 over TLS", "--http1.1", secure, "https"),
        ("2 over TLS", "--http2", secure, "https"),
    ):
        address = f"{gateway.url}/a?b=c"
        common = ["curl", "--silent", "--show-error", "--cacert", str(certificate), option, "--write-out", "\n%{http_code} %{http_version}"]
        spoken = "1" if version == "1.0" else "2" if version[0] == "2" and "not taken up" not in version else "1.1"
        body, told = subprocess.check_output([*common, address], text=True, timeout=20).rsplit("\n", 1)
        check(f"HTTP/{version}: without a session 401", told.split()[0] == "401" and "missing_token" in body, told)
        token = gateway.issue("ann")["token"]
        with_token = [*common, "--header", f"Authorization: Bearer {token}", "--data-binary", "x" * 70_000, address]
        body, told = subprocess.check_output(with_token, text=True, timeout=20).rsplit("\n", 1)
        status, used = told.split()
        seen = json.loads(body) if status == "200" else {}
        good = status == "200" and used == spoken and (seen["user"], seen["length"], seen["path"], seen["proto"]) == ("ann", 70_000, "/a?b=c", scheme)
        check(f"HTTP/{version}: with one the application sees the user", good, told)


def python(report, plain, secure, certificate):
    check = report.check
    report.title(f"requests {importlib.metadata.version('requests')}, httpx {importlib.metadata.version('httpx')}")
    with requests.Session() as session:
        check("requests: without a session 401", session.get(plain.url + "/").status_code == 401)
        session.headers["Authorization"] = f"Bearer {plain.issue('ann')['token']}"
        answers = [session.post(plain.url + "/", data=iter([b"a" * 50_000, b"b" * 50_000])) for _ in range(3)]
        check("requests: with one, three uploads in chunks on one connection", [(a.status_code, a.json()["length"]) for a in answers] == [(200, 100_000)] * 3)
    with requests.Session() as session:
        answer = session.post(plain.url + "/login", data={"username": "ann"})
        check("requests: a login by form, followed to the page with the cookie it got", (answer.status_code, answer.url) == (200, plain.url + "/page"), answer.status_code)
    url = secure.url + "/"
    trust = ssl.create_default_context(cafile=str(certificate))
    for version in ("HTTP/1.1", "HTTP/2"):
        with httpx.Client(http2=version == "HTTP/2", verify=trust) as client:
            answer = client.get(url)
            check(f"httpx: {version} without a session 401", (answer.status_code, answer.http_version) == (401, version), answer.http_version)
            client.headers["Authorization"] = f"Bearer {secure.issue('ann')['token']}"
            answers = [client.post(url, content=b"x" * 1_000_000) for _ in range(3)]
            seen = [(a.status_code, a.http_version, a.json()["user"], a.json()["length"]) for a in answers]
            check(f"httpx: {version} with one, 1 MB up three times", seen == [(200, version, "ann", 1_000_000)] * 3, seen[0][:2])
            with client.stream("GET", url + "events") as events:
                check(f"httpx: {version} events as they come", [line for line in events.iter_lines() if line] == ["data: 0", "data: 1", "data: 2"])


def node(report, processes, gateway):
    check = report.check
    program, package = shutil.which("node"), Path(os.environ["APPS_NODE_MODULES"], "ws")
    report.title("node: fetch, and the package ws")
    if not program or not package.exists():
        report.say("     node or the package ws is not installed: not tried")
        return
    report.say(f"     node {subprocess.check_output([program, '--version'], text=True).strip()}, ws {json.loads((package / 'package.json').read_text())['version']}")
    # Both say that they are node, and a session belongs to one kind of program.
    token = gateway.issue("ann")["token"]
    output = subprocess.run([program, here("clients_check.js"), gateway.url, token, package], capture_output=True, text=True, timeout=60)
    if not check("node: goes to its end", output.returncode == 0, output.stderr[-300:]):
        return
    seen = json.loads(output.stdout)
    check("node fetch: without a session 401", seen["without"] == 401)
    check("node fetch: with one", (seen["answer"]["user"], seen["answer"]["length"], seen["events"]) == ("ann", 100_000, 3), seen["answer"])
    check("ws: without a session 401", seen["refused"] == {"status": 401}, seen["refused"])
    check("ws: with one, text and 200,000 bytes", seen["socket"] == {"seen": ["you are ann", 200_000], "code": 1000}, seen["socket"])


def chromium(report, processes, port):
    check = report.check
    program = shutil.which("chromium")
    report.title("Chromium, without a window: a page with a WebSocket")
    if not program:
        report.say("     Chromium is not installed: not tried")
        return
    report.say(f"     {subprocess.check_output([program, '--version'], text=True).strip()}")
    # Without TLS the cookie cannot be Secure.
    gateway = processes.gateway(port, UPSTREAM, PLAIN_COOKIE)
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    profile = f"--user-data-dir={processes.directory / 'chromium'}"
    browser = processes.start("chromium", [program, *quiet.split(), profile, gateway.url + "/page"])

    def told():
        with urllib.request.urlopen(gateway.url + "/report", timeout=40) as answer:
            return answer.read().decode()

    first = told()
    check("it is led to the login, logs in, and its WebSocket opens with the cookie", first == "you are ann hello", first)
    sessions = sessions_of(processes, gateway)
    check("the session is Chromium's", len(sessions) == 1 and "Chrom" in json.dumps(sessions[0].get("device", {})), sessions[0].get("device"))
    subprocess.run([processes.gateway_program, "sessions", "revoke", sessions[0]["id"], "--config", gateway.settings], check=True, capture_output=True)
    closed = told()
    check("its end closes the WebSocket", closed.startswith("closed 1008"), closed)
    browser.stop()


def sessions_of(processes, gateway):
    listed = subprocess.check_output([processes.gateway_program, "sessions", "list", "--json", "--config", gateway.settings], text=True)
    return json.loads(listed)["sessions"]
