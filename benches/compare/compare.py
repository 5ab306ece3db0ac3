"""The plain comparison: processor time, latency and memory over HTTP/1.1. What `run` does when no mode is named."""

import shutil
import sys

import report
from measure import measured_run
from stage import binary, in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import TARGETS


def rounds(settings, bench):
    def once(target, process, port):
        bench.verify(target, port)
        settings.token_list = bench.token_list(target)
        figures = measured_run(process.pid, port, bench.upstream_count, settings)
        figures["shown"] = "{cpu_us:6.2f} us/request  {rate:7.0f}/s  core 0 {busy:4.0%} busy".format(**figures)
        return figures

    bench.start_upstream()
    return interleaved(settings, bench, once)


def table(settings, results):
    heads = ["target", "CPU us/request", "min-max", "ratio to a", "requests/s", "core busy", "p50 us", "p99 us"]
    heads += ["p99 us at half load", "RSS MiB"]
    rows = []
    for target in settings.chosen:
        runs = results[target.letter]
        rows.append([
            *report.cost(target, results), f"{median(runs, 'rate'):.0f}",
            f"{median(runs, 'busy'):.0%}", f"{median(runs, 'p50_us'):.0f}", f"{median(runs, 'p99_us'):.0f}",
            f"{median(runs, 'half_p99_us'):.0f} (at {median(runs, 'half_share'):.0%})", f"{median(runs, 'rss_mib'):.1f}",
        ])  # fmt: skip
    return heads, rows


def conditions(settings, results):
    return [
        report.machine("one worker on core 0, upstream and wrk on core 1"),
        report.versions(settings, ("wrk", "-v")),
        f"{settings.connections} keep-alive connections, {settings.tokens} tokens, 100-byte answers; "
        + report.rounds(settings, results),
        "access log: nginx to a file, buffered 64 KiB or 1 s; gateway as by default, to a file; haproxy and caddy none",
        "CPU is user + system time of everything the target runs, divided by wrk's count of answers",
    ]


def main():
    has_other = any(argument.split("=")[0] == "--other" for argument in sys.argv)
    targets = [t for t in TARGETS if not t.optional or (has_other if t.other else shutil.which(t.program))]
    made = parser(
        "[MODE]",
        "Processor time per request, latency and memory of the gateway and of its neighbours, each with one\n"
        "worker on core 0; the upstream and the load generator (wrk) share core 1. Rounds are interleaved.\n"
        "A MODE measures something else instead; `run MODE --help` says what, README.md lists them.",
        targets,
    )
    made.add_argument("--other", type=binary, help="measure this gateway binary too, such as that of scripts/release")
    settings = settings_of(made, targets)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: rounds(settings, bench))
    report.shown(settings, *table(settings, results), conditions(settings, results))


if __name__ == "__main__":
    run(main)
