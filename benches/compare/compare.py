"""Runs the comparison: options, rounds, and the table. Started by `run`, which sees to the programs it needs."""

import argparse
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

from measure import Failed, measured_run
from targets import TARGETS, Bench

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def options():
    letters = "\n".join(f"  {t.letter}  {t.title}" for t in TARGETS)
    parser = argparse.ArgumentParser(
        prog="benches/compare/run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Processor time per request, latency and memory of the gateway and of its neighbours, each with one\n"
        "worker on core 0; the upstream and the load generator (wrk) share core 1. Rounds are interleaved.",
        epilog=f"targets:\n{letters}",
    )
    parser.add_argument("--targets", default=",".join(t.letter for t in TARGETS), help="letters, e.g. a,b,f (all)")
    parser.add_argument("--seconds", type=int, default=10, help="length of a timed run (%(default)s)")
    parser.add_argument("--warmup", type=int, default=2, help="seconds before each timed run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs per target (%(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (%(default)s)")
    parser.add_argument("--tokens", type=int, default=10_000, help="tokens, each with a session (%(default)s)")
    parser.add_argument("--gateway", help="use this gateway binary instead of building one")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--root", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    settings.targets = settings.targets.split(",")
    unknown = set(settings.targets) - {t.letter for t in TARGETS}
    if unknown:
        parser.error(f"--targets: no target {', '.join(sorted(unknown))}\n{letters}")
    if min(settings.seconds, settings.warmup, settings.rounds, settings.connections, settings.tokens) < 1:
        parser.error("seconds, warmup, rounds, connections and tokens must be at least 1")
    settings.here = pathlib.Path(__file__).resolve().parent
    settings.user_agent = USER_AGENT
    return settings


def build(settings):
    if shutil.which("cargo") is None:
        raise Failed("cargo is needed to build the gateway (https://rustup.rs), or pass --gateway BINARY")
    say("building the gateway")
    if subprocess.run(["cargo", "build", "--release", "--locked"], cwd=settings.root).returncode != 0:
        raise Failed("the gateway does not build")
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return settings.root / target / "release" / "session-gateway"


def say(text):
    print(text, file=sys.stderr, flush=True)


def rounds(settings, targets, work):
    results = {t.letter: [] for t in targets}
    with Bench(settings, work) as bench:
        bench.start_upstream()
        for number in range(1, settings.rounds + 1):
            for target in targets:
                process, port = bench.start(target)
                bench.verify(target, port)
                settings.token_list = bench.token_list(target)
                run = measured_run(process.pid, port, bench.upstream_count, settings)
                bench.stop(process)
                results[target.letter].append(run)
                shown = f"{run['cpu_us']:6.2f} us/request  {run['rate']:7.0f}/s  core 0 {run['busy']:4.0%} busy"
                say(f"round {number}  {target.letter}  {shown}  {run['stolen']:3.0%} stolen")
    return results


def table(settings, targets, results):
    heads = ["target", "CPU us/request", "min-max", "ratio to a", "requests/s", "core busy", "p50 us", "p99 us"]
    heads += ["p99 us at half load", "RSS MiB"]
    rows = []
    for target in targets:
        runs = results[target.letter]

        def median(key):
            return statistics.median(run[key] for run in runs)

        cpu = [run["cpu_us"] for run in runs]
        # Runs of one round stand close in time, so their ratio suffers least from a machine that changes its speed.
        bare = results.get("a") or []
        ratio = statistics.median(mine / run["cpu_us"] for mine, run in zip(cpu, bare)) if bare else None
        rows.append([
            f"{target.letter}  {target.title}", f"{median('cpu_us'):.2f}", f"{min(cpu):.2f}-{max(cpu):.2f}",
            "-" if ratio is None else f"{ratio:.2f}", f"{median('rate'):.0f}", f"{median('busy'):.0%}",
            f"{median('p50_us'):.0f}", f"{median('p99_us'):.0f}",
            f"{median('half_p99_us'):.0f} (at {median('half_share'):.0%})", f"{median('rss_mib'):.1f}",
        ])  # fmt: skip
    if settings.markdown:
        lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
        for line in [heads, *rows]
    )


def conditions(settings, results):
    def said(*command):
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except FileNotFoundError:
            return "missing"
        return (ended.stdout.splitlines() or ["?"])[0].strip()

    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    versions = [said("nginx", "-v"), said("haproxy", "-v"), said("wrk", "-v").split(" Copyright")[0]]
    if settings.gateway:
        versions.append(said(settings.gateway, "--version"))
    stolen = max(run["stolen"] for runs in results.values() for run in runs)
    return [
        f"{cpu}, {os.cpu_count()} cores; Linux {platform.release()}; one worker on core 0, upstream and wrk on core 1",
        "; ".join(versions),
        f"{settings.connections} keep-alive connections, {settings.tokens} tokens, 100-byte answers; medians of "
        f"{settings.rounds} interleaved rounds of {settings.seconds} s after {settings.warmup} s of warm-up; at most "
        f"{stolen:.0%} of core 0 stolen by the host",
        "access log: nginx to a file, buffered 64 KiB or 1 s; gateway as by default, to a file; haproxy none",
        "CPU is user + system time of everything the target runs, divided by wrk's count of answers",
    ]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    settings = options()
    if not {0, 1} <= os.sched_getaffinity(0):
        raise Failed("cores 0 and 1 are both needed")
    targets = [t for t in TARGETS if t.letter in settings.targets]
    if any(t.frame is None for t in targets):
        settings.gateway = pathlib.Path(settings.gateway).resolve() if settings.gateway else build(settings)
        if not os.access(settings.gateway, os.X_OK):
            raise Failed(f"no gateway binary at {settings.gateway}")
    os.sched_setaffinity(0, {1})  # this script must not disturb core 0
    work = tempfile.mkdtemp(prefix="gateway-compare-")
    try:
        results = rounds(settings, targets, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(table(settings, targets, results))
    bullet = "- " if settings.markdown else "  "
    print("\n" + "\n".join(bullet + line for line in conditions(settings, results)))


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(f"compare: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
