"""What is read while a target works: its processor time, its memory, and wrk's own count."""

import json
import os
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The comparison cannot be trusted or made; the message says why."""


def _stat(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()  # the name may hold spaces


def family(pid):
    """`pid` and everything it started that still runs."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(_stat(entry)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [pid]
    for parent in found:
        found.extend(child for child, its_parent in parents.items() if its_parent == parent)
    return found


def cpu_seconds(pid):
    """User and system time of the whole family. A process's line counts all its threads, also those that ended, and
    the third and fourth field its children that ended; so nothing the target runs is left out."""
    return sum(int(field) for member in family(pid) for field in _stat(member)[11:15]) / TICKS


def rss_mib(pid):
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/status") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    return total / 1024


def stolen_seconds(core):
    """Time the host took from this core: above a few percent of a run, the run is noise."""
    with open("/proc/stat") as f:
        for line in f:
            if line.startswith(f"cpu{core} "):
                return int(line.split()[8]) / TICKS
    return 0.0


def load(port, seconds, settings, longest_delay_ms=0):
    """One wrk run on core 1. Fails when anything but a success came back."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{settings.connections}", f"-d{seconds}s", "--latency"]
    command += ["--timeout", "10s", "-s", f"{settings.here}/load.lua", f"http://127.0.0.1:{port}/"]
    environment = dict(
        os.environ,
        COMPARE_TOKENS=settings.token_list,
        COMPARE_USER_AGENT=settings.user_agent,
        COMPARE_LONGEST_DELAY_MS=str(longest_delay_ms),
    )
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if ended.returncode != 0 or not lines:
        raise Failed(f"wrk failed ({ended.returncode}):\n{ended.stdout}{ended.stderr}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["non_2xx"] or result["broken"] or not result["requests"]:
        raise Failed(f"not every answer was a success:\n{ended.stdout}")
    result["rate"] = result["requests"] / (result["micros"] / 1e6)
    return result


def measured_run(pid, port, upstream_count, settings):
    """Warm-up, the timed run at full load, and a shorter one at about half of the rate found."""
    load(port, settings.warmup, settings)
    cpu, stolen, seen = cpu_seconds(pid), stolen_seconds(0), upstream_count()
    full = load(port, settings.seconds, settings)
    cpu, stolen, seen = cpu_seconds(pid) - cpu, stolen_seconds(0) - stolen, upstream_count() - seen
    if seen < full["requests"]:
        raise Failed(f"wrk counts {full['requests']} answers, the upstream only {seen} requests")
    wall = full["micros"] / 1e6
    rss = rss_mib(pid)
    # At half the rate a connection's turn takes twice as long, nearly all of it think time. wrk counts whole
    # milliseconds and wakes about half a one late, so the share that was reached is reported with the latency.
    turn_ms = 2000 * settings.connections / full["rate"]
    half = load(port, max(2, settings.seconds // 2), settings, longest_delay_ms=max(1, round(2 * turn_ms - 1)))
    return {
        "cpu_us": cpu * 1e6 / full["requests"],
        "rate": full["rate"],
        "busy": cpu / wall,
        "stolen": stolen / wall,
        "p50_us": full["p50"],
        "p99_us": full["p99"],
        "half_p99_us": half["p99"],
        "half_share": half["rate"] / full["rate"],
        "rss_mib": rss,
    }
