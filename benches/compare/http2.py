"""Processor time per request over HTTP/2: h2load in front, without TLS and by prior knowledge; HTTP/1.1 towards the app."""

import pathlib
import re

import report
from measure import Failed, Used, output
from stage import in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import BODY, Target

STREAMS = 32

# As many idle connections to the app as there are streams, or the proxies would open and close them all the time.
TARGETS = [
    Target("a", "nginx, proxying only", "nginx.conf", "nginx-plain.conf", checks=False,
           values={"LISTEN_MORE": " http2", "IDLE": 512}),
    Target("b", "haproxy + map file", "haproxy.cfg", "haproxy-map.cfg", values={"LISTEN_MORE": " proto h2"}),
    Target("c", "session-gateway", values={"UPSTREAM_MORE": "max_idle = 512"}),
]  # fmt: skip


def h2load(port, token, seconds, warmup, settings, log):
    """One run; answers the count, the rate and the sorted times of all requests in microseconds."""
    pathlib.Path(log).unlink(missing_ok=True)
    printed = output(
        "h2load", f"-c{settings.connections}", f"-m{STREAMS}", "-t1", f"-D{seconds}", f"--warm-up-time={warmup}",
        f"--log-file={log}", "-H", f"authorization: Bearer {token}", "-H", f"user-agent: {settings.user_agent}",
        f"http://127.0.0.1:{port}/",
    )  # fmt: skip
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", printed)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", printed)
    if not counts or not statuses or "Application protocol: h2c" not in printed:
        raise Failed(f"h2load said something unexpected:\n{printed}")
    done, good, *bad = map(int, counts.groups())
    if any(bad) or any(map(int, statuses.groups()[1:])) or not good:
        raise Failed(f"not every answer was a success:\n{printed}")
    with open(log) as lines:  # start, status, duration
        fields = [line.split("\t") for line in lines]
    times = sorted(int(duration) for _, status, duration in fields if status == "200")
    return done, done / seconds, times


def check(port, settings, target, tokens):
    """A good token gets the app's answer, an unknown one 401, both over HTTP/2."""
    for token, status in [(tokens[0], "200"), ("unknown" + "A" * 36, "401" if target.checks else "200")]:
        printed = output(
            "curl", "-s", "--http2-prior-knowledge", "-w", "|%{http_code} %{http_version}", "-A", settings.user_agent,
            "-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}/",
        )  # fmt: skip
        if not printed.endswith(f"|{status} 2") or (status == "200" and not printed.startswith(BODY)):
            raise Failed(f"{target.title}: {printed!r} instead of {status} over HTTP/2")


def measure(settings, bench):
    def once(target, process, port):
        tokens = pathlib.Path(bench.token_list(target)).read_text().split()
        check(port, settings, target, tokens)
        log = bench.work / "h2load.log"
        h2load(port, tokens[0], settings.warmup, 0, settings, log)
        seen = bench.upstream_count()
        with Used(process.pid) as used:
            count, rate, times = h2load(port, tokens[0], settings.seconds, 0, settings, log)
        if bench.upstream_count() - seen < count:
            raise Failed(f"{target.title}: the upstream saw fewer requests than h2load has answers")
        figures = {
            "cpu_us": used.cpu * 1e6 / count, "rate": rate, "busy": used.cpu / settings.seconds, "stolen": used.stolen,
            "p50_us": times[len(times) // 2], "p99_us": times[int(len(times) * 0.99)],
        }  # fmt: skip
        figures["shown"] = "{cpu_us:6.2f} us/request  {rate:7.0f}/s  core 0 {busy:4.0%} busy".format(**figures)
        return figures

    bench.start_upstream()
    return interleaved(settings, bench, once)


def main():
    made = parser(
        "http2",
        f"Processor time per request over HTTP/2 without TLS (h2load, {STREAMS} streams on each connection), HTTP/1.1 to the\n"
        "app. One worker on core 0; the app and h2load share core 1.",
        TARGETS, connections=10, tokens=1,
    )  # fmt: skip
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    rows = []
    for target in settings.chosen:
        runs = results[target.letter]
        rows.append([
            *report.cost(target, results), f"{median(runs, 'rate'):.0f}",
            f"{median(runs, 'busy'):.0%}", f"{median(runs, 'p50_us'):.0f}", f"{median(runs, 'p99_us'):.0f}",
        ])  # fmt: skip
    heads = ["target", "CPU us/request", "min-max", "ratio to a", "requests/s", "core busy", "p50 us", "p99 us"]
    report.shown(settings, heads, rows, [
        report.machine("one worker on core 0, app and h2load on core 1"),
        report.versions(settings, ("h2load", "--version")),
        f"{settings.connections} connections with {STREAMS} streams each, one token, 100-byte answers; "
        + report.rounds(settings, results),
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
