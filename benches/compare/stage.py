"""What every mode shares: its options, the gateway's binary, the processor it may use, and rounds that are interleaved."""

import argparse
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

from measure import Failed
from targets import Bench

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def parser(mode, description, targets, seconds=10, rounds=3, connections=64, tokens=10_000):
    """The options every mode has; a default of None leaves one out."""
    letters = "\n".join(f"  {t.letter}  {t.title}" for t in targets)
    made = argparse.ArgumentParser(
        prog=f"benches/compare/run {mode}".rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog=f"targets:\n{letters}",
    )
    made.add_argument("--targets", default=",".join(t.letter for t in targets), help="letters, e.g. a,b (all)")
    made.add_argument("--seconds", type=int, default=seconds, help="length of a timed run (%(default)s)")
    made.add_argument("--warmup", type=int, default=2, help="seconds before each timed run (%(default)s)")
    made.add_argument("--rounds", type=int, default=rounds, help="timed runs per target (%(default)s)")
    if connections:
        made.add_argument("--connections", type=int, default=connections, help="connections (%(default)s)")
    if tokens:
        made.add_argument("--tokens", type=int, default=tokens, help="tokens, each with a session (%(default)s)")
    made.add_argument("--gateway", type=binary, help="use this gateway binary instead of building one")
    made.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    made.add_argument("--root", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    made.set_defaults(tokens=tokens or 1, connections=connections or 1)
    return made


def settings_of(made, targets):
    """What the command line says; `settings.chosen` are the targets."""
    settings = made.parse_args()
    letters = settings.targets.split(",")
    unknown = set(letters) - {t.letter for t in targets}
    if unknown:
        made.error(f"--targets: no target {', '.join(sorted(unknown))}")
    if min(settings.seconds, settings.warmup, settings.rounds, settings.connections, settings.tokens) < 1:
        made.error("seconds, warmup, rounds, connections and tokens must be at least 1")
    settings.chosen = [t for t in targets if t.letter in letters]
    settings.here = pathlib.Path(__file__).resolve().parent
    settings.user_agent, settings.path = USER_AGENT, "/"
    return settings


def say(text):
    print(text, file=sys.stderr, flush=True)


def binary(path):
    """A program as the command line names it."""
    path = pathlib.Path(path).resolve()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"no program at {path}")
    return path


def build(settings):
    if shutil.which("cargo") is None:
        raise Failed("cargo is needed to build the gateway (https://rustup.rs), or pass --gateway BINARY")
    say("building the gateway")
    if subprocess.run(["cargo", "build", "--release", "--locked"], cwd=settings.root).returncode != 0:
        raise Failed("the gateway does not build")
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return settings.root / target / "release" / "session-gateway"


def prepare(settings):
    """Sees to both cores and the gateway's binary, and keeps this script off core 0."""
    if not {0, 1} <= os.sched_getaffinity(0):
        raise Failed("cores 0 and 1 are both needed")
    if any(t.is_gateway for t in settings.chosen):
        settings.gateway = settings.gateway or binary(build(settings))
    os.sched_setaffinity(0, {1})


def open_files(needed):
    """Lets this script and all it starts have so many open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, hard), max(needed, hard)))
    except (ValueError, PermissionError) as why:
        raise Failed(f"{needed} open files are needed, the limit is {hard}: {why}") from why


def compiled(settings, bench, name):
    """A load program of ours, made from programs/NAME.c."""
    program = bench.work / name
    subprocess.run(["cc", "-O2", "-o", program, settings.here / "programs" / f"{name}.c"], check=True)
    return program


def interleaved(settings, bench, once, targets=None):
    """Measures each target once a round (a b c, a b c), each on a fresh process: `once(target, process, port)` answers a
    dictionary with the figures and, under "shown", a line that tells of them."""
    targets = settings.chosen if targets is None else targets
    results = {t.letter: [] for t in targets}
    for number in range(1, settings.rounds + 1):
        for target in targets:
            process, port = bench.start(target)
            run = once(target, process, port)
            bench.stop(process)
            results[target.letter].append(run)
            say(f"round {number}  {target.letter}  {run['shown']}  {run['stolen']:3.0%} taken")
    return results


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def in_a_bench(settings, work):
    """Calls `work(bench)` and removes whatever it left, files and processes."""
    directory = tempfile.mkdtemp(prefix="gateway-compare-")
    try:
        with Bench(settings, directory) as bench:
            return work(bench)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(main):
    """Runs a mode. Signals end it as an error would, so that all it started ends too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        main()
    except Failed as why:
        sys.exit(f"compare: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
