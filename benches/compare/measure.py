"""What is read while a target works: its processor time, its memory, and wrk's own count."""

import json
import os
import subprocess
import time

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


def core_seconds(core):
    """What a core has done so far: for programs, and for the host, which took that time away."""
    with open("/proc/stat") as f:
        for line in f:
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _wait, _irq, _softirq, stolen = map(int, line.split()[1:9])
                return (user + nice + system) / TICKS, stolen / TICKS
    return 0.0, 0.0


class Used:
    """What `pid` and core 0 did from entering to leaving: `cpu` and `wall` in seconds, and `stolen`, the share of core 0 that
    the host took, and, if `pid` should be `alone` there, other programs. Above some percent, the run is noise."""

    def __init__(self, pid, alone=True):
        self.pid, self.alone = pid, alone

    def _read(self):
        return time.monotonic(), cpu_seconds(self.pid), *core_seconds(0)

    def __enter__(self):
        self.before = self._read()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu, busy, stolen = (now - then for now, then in zip(self._read(), self.before))
        others = max(0.0, busy - self.cpu) if self.alone else 0.0
        self.stolen = (stolen + others) / self.wall


def output(*command, cores="1", environment=None):
    """Runs a load program on `cores` and answers what it printed."""
    command = ["taskset", "-c", cores, *map(str, command)]
    ended = subprocess.run(command, env=dict(os.environ, **(environment or {})), capture_output=True, text=True)
    if ended.returncode != 0:
        raise Failed(f"{command[3]} failed ({ended.returncode}):\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return ended.stdout


def load(port, seconds, settings, longest_delay_ms=0):
    """One wrk run on core 1. Fails when anything but a success came back."""
    command = ["wrk", "-t1", f"-c{settings.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    command += ["-s", f"{settings.here}/load.lua", f"http://127.0.0.1:{port}{settings.path}"]
    environment = {
        "COMPARE_TOKENS": settings.token_list,
        "COMPARE_USER_AGENT": settings.user_agent,
        "COMPARE_LONGEST_DELAY_MS": str(longest_delay_ms),
    }
    printed = output(*command, environment=environment)
    lines = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise Failed(f"wrk gave no result:\n{printed}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["non_2xx"] or result["broken"] or not result["requests"]:
        raise Failed(f"not every answer was a success:\n{printed}")
    result["rate"] = result["requests"] / (result["micros"] / 1e6)
    return result


def measured_run(pid, port, upstream_count, settings):
    """Warm-up, the timed run at full load, and a shorter one at about half of the rate found."""
    load(port, settings.warmup, settings)
    seen = upstream_count()
    with Used(pid) as used:
        full = load(port, settings.seconds, settings)
    seen = upstream_count() - seen
    if seen < full["requests"]:
        raise Failed(f"wrk counts {full['requests']} answers, the upstream only {seen} requests")
    rss = rss_mib(pid)
    # At half the rate a connection's turn takes twice as long, nearly all of it think time. wrk counts whole
    # milliseconds and wakes about half a one late, so the share that was reached is reported with the latency.
    turn_ms = 2000 * settings.connections / full["rate"]
    half = load(port, max(2, settings.seconds // 2), settings, longest_delay_ms=max(1, round(2 * turn_ms - 1)))
    return {
        "cpu_us": used.cpu * 1e6 / full["requests"],
        "rate": full["rate"],
        "busy": used.cpu / (full["micros"] / 1e6),
        "stolen": used.stolen,
        "p50_us": full["p50"],
        "p99_us": full["p99"],
        "half_p99_us": half["p99"],
        "half_share": half["rate"] / full["rate"],
        "rss_mib": rss,
    }
