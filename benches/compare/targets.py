"""How each target is configured, started, checked before it is timed, and stopped."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import time
import types

from measure import Failed

BODY = "x" * 100


# Which program reads a frame.
PROGRAMS = {"nginx.conf": "nginx", "haproxy.cfg": "haproxy", "Caddyfile": "caddy", "envoy.yaml": "envoy", None: "gateway"}


class Target:
    """One program under test: a `frame` with a `part` in it, or the gateway, whose settings are `part` alone. `checks` says
    whether it refuses unknown tokens; an `optional` one is left out where its program is not installed; `values` are
    further words for its settings. `other` is the gateway's other build, where there is one."""

    def __init__(self, letter, title, frame=None, part=None, checks=True, optional=False, values=None, other=False):
        self.letter, self.title, self.frame, self.part, self.checks = letter, title, frame, part, checks
        self.optional, self.values, self.other = optional, values or {}, other
        self.is_gateway = frame is None
        self.program = PROGRAMS[frame]


TARGETS = [
    Target("a", "nginx, proxying only", "nginx.conf", "nginx-plain.conf", checks=False),
    Target("b", "nginx + token map", "nginx.conf", "nginx-map.conf"),
    Target("c", "nginx auth_request (auth service not counted)", "nginx.conf", "nginx-auth-request.conf"),
    Target("d", "haproxy + map file", "haproxy.cfg", "haproxy-map.cfg"),
    Target("e", "haproxy tcp mode (checks nothing)", "haproxy.cfg", "haproxy-tcp.cfg", checks=False),
    Target("f", "session-gateway"),
    Target("g", "caddy, proxying only", "Caddyfile", checks=False, optional=True),
    Target("h", "envoy, proxying only", "envoy.yaml", checks=False, optional=True),
    Target("i", "session-gateway, the build of --other", optional=True, other=True),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Bench:
    """The upstream, the tokens, and one running target at a time. Leaving it stops and removes everything."""

    def __init__(self, settings, work):
        self.settings, self.work = settings, pathlib.Path(work)
        self.running = []
        self.upstream = None
        self.ports = {name: free_port() for name in ("UPSTREAM", "AUTH")}
        self.state = self.work / "gateway"
        self.state.mkdir()
        self.service_key = secrets.token_urlsafe(32)
        (self.state / "service-key").write_text(self.service_key)
        self.spare_session = None  # a gateway session that no load uses, for the check that ruins it
        self.tokens = [secrets.token_urlsafe(32) for _ in range(settings.tokens)]
        (self.work / "tokens").write_text("".join(f"{t}\n" for t in self.tokens))
        named = list(enumerate(self.tokens))
        (self.work / "tokens.map").write_text("".join(f'"Bearer {t}" user-{n};\n' for n, t in named))
        (self.work / "tokens.table").write_text("".join(f"{t} user-{n}\n" for n, t in named))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.running:
            self.stop(self.running[-1])

    def _fill(self, text, directory, more):
        user_line = "user root;" if os.getuid() == 0 else ""  # the workers must read the work directory
        # What may hold other words itself comes first.
        values = {
            "LISTEN_MORE": "", "SERVER_MORE": "", "UPSTREAM_MORE": "", "SECTIONS": "", "IDLE": 64, "WORKERS": 1,
            "CONNECTIONS": 4096, "STORE": f"sqlite:{self.state}/sessions.db", **more, "DIR": directory, "STATE": self.state,
            "BODY": BODY, "USER_LINE": user_line, "TOKENS_MAP": self.work / "tokens.map",
            "TOKENS_TABLE": self.work / "tokens.table", **self.ports,
        }  # fmt: skip
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return text

    def _template(self, name):
        return (self.settings.here / "targets" / name).read_text()

    def spawn(self, name, core, command, directory, port):
        """Starts a program on `core` ("0,1" for both) and waits until it listens on `port`, or at the path of a socket. It
        ends with the bench."""
        family, where = (socket.AF_INET, ("127.0.0.1", port)) if isinstance(port, int) else (socket.AF_UNIX, str(port))
        with open(directory / "output.log", "wb") as output:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory, start_new_session=True,
                env=dict(os.environ, GOMAXPROCS="1", HOME=str(directory)),
            )  # fmt: skip
        process.directory = directory
        self.running.append(process)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            with socket.socket(family) as s:
                if s.connect_ex(where) == 0:
                    return process
            time.sleep(0.02)
        said = (directory / "output.log").read_text(errors="replace")[-2000:]
        how = "does not listen" if process.poll() is None else f"ended with {process.returncode}"
        raise Failed(f"{name} {how}; it said:\n{said}")

    def stop(self, process):
        """Ends the whole process group: politely, then not."""
        self.running.remove(process)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(timeout=10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()
        shutil.rmtree(process.directory, ignore_errors=True)

    def start_upstream(self, part="upstream.conf", core="1", **values):
        directory = self.work / "upstream"
        directory.mkdir()
        conf = self._template("nginx.conf").replace("@SERVERS@", self._template(part))
        (directory / "nginx.conf").write_text(self._fill(conf, directory, values))
        return self.spawn("the upstream", core, self._nginx(directory), directory, self.ports["UPSTREAM"])

    @staticmethod
    def _nginx(directory):
        return ["nginx", "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf"]

    def start(self, target, core="0"):
        """Starts `target`; answers its process and port. The first start of the gateway makes its sessions."""
        directory = self.work / f"target-{target.letter}"
        directory.mkdir()
        more = {"LISTEN": free_port(), "OPS": free_port(), **target.values}
        if target.is_gateway:
            (directory / "gateway.toml").write_text(self._fill(self._template(target.part or "gateway.toml"), directory, more))
            binary = self.settings.other if target.other else self.settings.gateway
            command = [binary, "serve", "--config", directory / "gateway.toml"]
        else:
            part = self._template(target.part) if target.part else ""
            conf = self._template(target.frame).replace("@SERVERS@", part)
            (directory / target.frame).write_text(self._fill(conf, directory, more))
            command = {
                "nginx": self._nginx(directory),
                "haproxy": ["haproxy", "-db", "-f", directory / target.frame],
                "envoy": ["envoy", "-c", directory / target.frame, "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
                "caddy": ["caddy", "run", "--config", directory / target.frame, "--adapter", "caddyfile"],
            }[target.program]
        process = self.spawn(target.title, core, command, directory, more["LISTEN"])
        process.ops = more["OPS"]
        if target.is_gateway:
            self._wait_ready(more["OPS"])
            if self.tokens and not (self.work / "gateway-tokens").exists():
                self.spare_session, *tokens = self._create_sessions(more["LISTEN"])
                (self.work / "gateway-tokens").write_text("".join(f"{t}\n" for t in tokens))
        return process, more["LISTEN"]

    def token_list(self, target):
        return str(self.work / ("gateway-tokens" if target.is_gateway else "tokens"))

    def _wait_ready(self, ops):
        deadline = time.monotonic() + 20
        while request(ops, "GET", "/readyz").status != 200:
            if time.monotonic() > deadline:
                raise Failed("the gateway does not become ready")
            time.sleep(0.05)

    def _create_sessions(self, port):
        def create(numbers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {"Authorization": f"Bearer {self.service_key}", "Content-Type": "application/json"}
            tokens = []
            for n in numbers:
                body = json.dumps({"user": f"user-{n}", "user_agent": self.settings.user_agent})
                connection.request("POST", "/_sessions", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 201:
                    raise Failed(f"creating a session answered {answer.status}: {text[:500]!r}")
                tokens.append(json.loads(text)["token"])
            return tokens

        parts = [range(start, self.settings.tokens + 1, 8) for start in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return [token for tokens in pool.map(create, parts) for token in tokens]

    def upstream_count(self):
        """Requests the upstream has answered so far."""
        return int(request(self.ports["UPSTREAM"], "GET", "/status").text.split()[9])

    def verify(self, target, port):
        """A good token reaches the upstream with the user's name; an unknown one, and none, does not reach it."""

        def ask(path, token, agent):
            headers = {"User-Agent": agent} | ({"Authorization": f"Bearer {token}"} if token else {})
            return request(port, "GET", f"/verify/{path}", headers)

        nonce, token = secrets.token_hex(8), pathlib.Path(self.token_list(target)).read_text().split()[0]
        answer = ask(f"{nonce}-good", token, self.settings.user_agent)
        if (answer.status, answer.text) != (200, BODY):
            raise Failed(f"{target.title}: a good token got {answer.status} {answer.text[:200]!r}")
        if target.checks:
            unknown = base64.urlsafe_b64encode(b"unknown token of thirty-two byte").decode().rstrip("=")
            bad = [("an unknown token", unknown, self.settings.user_agent), ("no token", None, self.settings.user_agent)]
            if target.is_gateway and self.spare_session:
                bad.append(("a token from another browser", self.spare_session, "curl/8.0"))
                self.spare_session = None
            for what, refused, agent in bad:
                status = ask(f"{nonce}-bad", refused, agent).status
                if status != 401:
                    raise Failed(f"{target.title}: {what} got {status} instead of 401")
        log = (self.work / "upstream" / "verify.log").read_text()
        seen = [line.split("|") for line in log.splitlines() if line.startswith(f"/verify/{nonce}")]
        if len(seen) != 1 or not seen[0][0].endswith("-good"):
            raise Failed(f"{target.title}: the upstream saw {seen} instead of the good request alone")
        if target.checks and (not seen[0][1].startswith("user-") or seen[0][2] != "-"):
            raise Failed(f"{target.title}: the upstream was told {seen[0][1:]} instead of the user's name alone")


def request(port, method, path, headers=None):
    """One request on a connection of its own; answers status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return types.SimpleNamespace(status=answer.status, text=answer.read().decode(errors="replace"))
    finally:
        connection.close()
