"""A PostgreSQL server of our own on core 1, reached through its socket alone; its files go with the bench."""

import os
import pathlib
import pwd
import shutil
import subprocess
import time

from measure import Failed

DATABASE = "sessions"
PORT = 5432  # the server's listener is a file, which has the number in its name


class Postgres:
    def __init__(self, bench):
        self.home = bench.work / "postgres"
        self.home.mkdir()
        self.programs = self._programs()
        # PostgreSQL refuses to run as root.
        self.account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self.account:
            bench.work.chmod(0o755)
            owner = pwd.getpwnam("postgres")
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", self.home / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        command = [*self.account, self.programs / "postgres", "-D", self.home / "data", "-k", self.home, "-p", PORT]
        command += ["-c", "listen_addresses="]
        self.process = bench.spawn("PostgreSQL", 1, command, self.home, self.home / f".s.PGSQL.{PORT}")
        self._create_database()
        self.url = f"postgres:///{DATABASE}?host={self.home}&port={PORT}&user=postgres"

    @staticmethod
    def _programs():
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if found:
            return found[-1].parent
        named = shutil.which("postgres")
        if not named:
            raise Failed("PostgreSQL's server is not installed")
        return pathlib.Path(named).resolve().parent

    def _run(self, program, *arguments, text=None):
        command = [*self.account, self.programs / program, *arguments]
        ended = subprocess.run([str(word) for word in command], input=text, cwd=self.home, capture_output=True, text=True)
        if ended.returncode != 0:
            raise Failed(f"{program} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
        return ended.stdout

    def _create_database(self):
        deadline = time.monotonic() + 20
        while True:  # the socket is there before the server takes anybody
            try:
                return self._run("psql", "-h", self.home, "-U", "postgres", "-qc", f"CREATE DATABASE {DATABASE}", "postgres")
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def psql(self, script):
        return self._run("psql", "-h", self.home, "-U", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1", DATABASE, text=script)

    def version(self):
        return "PostgreSQL " + self.psql("SHOW server_version").strip()
