"""Runs the scenarios that are asked for, one after the other, and counts."""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import clients
import django_admin
import files
import git_pushes
import grpc_calls
import moving
import nilva
import radicale_dav
import spa
import tokens
from processes import Processes
from report import Report

SCENARIOS = {
    "django": django_admin.run,
    "moving": moving.run,
    "radicale": radicale_dav.run,
    "files": files.run,
    "spa": spa.run,
    "tokens": tokens.run,
    "nilva": nilva.run,
    "clients": clients.run,
    "grpc": grpc_calls.run,
    "git": git_pushes.run,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", type=Path, required=True)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    arguments = parser.parse_args()
    for name in arguments.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are {', '.join(SCENARIOS)}")

    # A scenario that is told to stop still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Settings come from the scenarios' own files alone.
    for name in [name for name in os.environ if name.startswith(("GATEWAY_", "DJANGO_", "RADICALE_")) or name == "RUST_LOG"]:
        del os.environ[name]

    report = Report()
    for name in arguments.scenarios or SCENARIOS:
        began, failed = time.monotonic(), report.failed
        with tempfile.TemporaryDirectory(prefix="session-gateway-apps-") as directory:
            with Processes(Path(directory), arguments.gateway.resolve()) as processes:
                try:
                    SCENARIOS[name](report, processes)
                except Exception as error:  # One scenario that cannot go on must not hide the others.
                    report.check(f"{name}: goes on to its end", False, repr(error))
                    traceback.print_exc()
                if report.failed > failed:
                    processes.show_logs()
        report.say(f"   {time.monotonic() - began:.1f} s")
    report.say(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


main()
