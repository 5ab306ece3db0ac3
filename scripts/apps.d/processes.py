"""Starts programs and gateways on free loopback ports, and ends every one of them."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SERVICE_KEY = "service-key-of-the-scenarios-0123456789"


def wait_until(what, condition, seconds=30):
    """Waits for a condition; `what` names it when it does not come."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Program:
    """A running program with its log."""

    def __init__(self, name, command, directory, environment, log):
        self.name = name
        self.log = log
        with open(log, "wb") as output:
            # A group of its own, so that its children end with it.
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def require_alive(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.text()}")
        return True

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Gateway:
    """A gateway with a store of its own."""

    settings = None
    # The certificate that it is known by, when it listens with TLS.
    certificate = None

    def __init__(self, program):
        self.program = program
        self.pid = program.process.pid
        self.port, self.ops_port = wait_until("the gateway listens", self._ports)
        wait_until("the gateway's store is up", self._ready)

    def _ports(self):
        self.program.require_alive()
        text = self.program.text()
        public = re.search(r"listening address=127\.0\.0\.1:(\d+)", text)
        ops = re.search(r"metrics and health address=127\.0\.0\.1:(\d+)", text)
        return (int(public[1]), int(ops[1])) if public and ops else None

    def _ready(self):
        try:
            return bool(self._ops("/readyz"))
        except OSError:
            return False

    def _ops(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=5) as answer:
            return answer.read()

    @property
    def url(self):
        return f"https://localhost:{self.port}" if self.certificate else f"http://127.0.0.1:{self.port}"

    def metric(self, name):
        """A figure of /metrics, given its name with labels."""
        for line in self._ops("/metrics").decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def issue(self, user, **fields):
        """A session made with the service key."""
        request = urllib.request.Request(
            f"{self.url}/_sessions",
            data=json.dumps({"user": user, **fields}).encode(),
            headers={"Authorization": f"Bearer {SERVICE_KEY}", "Content-Type": "application/json"},
        )
        trust = ssl.create_default_context(cafile=str(self.certificate)) if self.certificate else None
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
            return json.load(answer)


class Processes:
    """The programs of one scenario; leaving it ends them all, the last one first."""

    def __init__(self, directory, gateway):
        self.directory = directory
        self.gateway_program = gateway
        self.programs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.programs:
            self.programs.pop().stop()

    def start(self, name, command, directory=None, environment=None):
        log = self.directory / f"{len(self.programs)}-{name}.log"
        program = Program(name, command, directory or self.directory, environment or {}, log)
        self.programs.append(program)
        return program

    def serve(self, name, command, directory=None, environment=None):
        """Starts a server; `{port}` in its command becomes a free port. Waits until it listens."""
        for attempt in range(3):
            port = free_port()
            place = [str(part).replace("{port}", str(port)) for part in command]
            program = self.start(name, place, directory, environment)
            try:
                wait_until(f"{name} listens", lambda: program.require_alive() and listens(port))
                return program, port
            except RuntimeError:
                # Somebody else may have taken the port in between.
                if attempt == 2:
                    raise
        raise AssertionError

    def serve_python(self, name, arguments, directory=None, environment=None):
        """A server that is a Python module or file of the venv."""
        return self.serve(name, [sys.executable, "-u", "-B", *arguments], directory, environment)

    def gateway(self, upstream_port, upstream="", settings=""):
        """A gateway in front of a port; `upstream` goes into its [[upstream]], `settings` follow."""
        number = len(self.programs)
        file = self.directory / f"gateway-{number}.toml"
        file.write_text(
            f"""
[server]
listen = ["127.0.0.1:0"]
ops_listen = "127.0.0.1:0"

[log]
access = "{self.directory}/access-{number}.log"

[store]
url = "sqlite:{self.directory}/sessions-{number}.db"

[[service]]
name = "scenarios"
key = "{SERVICE_KEY}"

[[upstream]]
url = "http://127.0.0.1:{upstream_port}"
{upstream}
{settings}
"""
        )
        gateway = Gateway(self.start("gateway", [self.gateway_program, "serve", "--config", file]))
        gateway.settings = file
        return gateway

    def show_logs(self):
        for program in self.programs:
            print(f"--- the end of the log of {program.name}")
            print("\n".join(program.text().splitlines()[-25:]), flush=True)


def here(name):
    """A file beside this one."""
    return Path(__file__).resolve().parent / name
