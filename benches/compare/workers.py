"""One worker against two, with many connections and with three: throughput and latency when both cores do everything."""

import json

import report
from measure import Failed, Used, output
from stage import compiled, in_a_bench, median, parser, prepare, run, say, settings_of
from targets import Target

BOTH = "0,1"
FEW = 3

TARGETS = [
    Target("a", "nginx + token map, one worker on core 0", "nginx.conf", "nginx-map.conf"),
    Target("b", "nginx + token map, two workers", "nginx.conf", "nginx-map.conf", values={"WORKERS": 2}),
    Target("c", "session-gateway, one worker on core 0"),
    Target("d", "session-gateway, two workers", values={"WORKERS": 2}),
]


def measure(settings, bench):
    """Here too each target has a fresh process a round; the connections are new for every run, since it is at connecting
    that a worker gets them."""
    program = compiled(settings, bench, "http_load")

    def load(target, port, connections, seconds):
        command = [program, port, "127.0.0.1", connections, seconds, 0, f"cycle:{bench.token_list(target)}"]
        result = json.loads(output(*command, settings.user_agent, cores=BOTH))
        if result["ok"] != result["requests"] or result["broken"]:
            raise Failed(f"{target.title}: not every answer was a success: {result}")
        return result

    bench.start_upstream(core=BOTH, WORKERS=2)
    results = {t.letter: [] for t in settings.chosen}
    for number in range(1, settings.rounds + 1):
        for target in settings.chosen:
            process, port = bench.start(target, core=BOTH if target.values.get("WORKERS") == 2 else "0")
            bench.verify(target, port)
            load(target, port, settings.connections, settings.warmup)
            for kind, connections, times in (("even", settings.connections, 1), ("few", FEW, settings.tries)):
                for _ in range(times):
                    with Used(process.pid, alone=False) as used:
                        result = load(target, port, connections, settings.seconds / times)
                    rate = result["requests"] / (result["micros"] / 1e6)
                    results[target.letter].append({
                        "kind": kind, "rate": rate, "p50": result["p50"], "p99": result["p99"], "stolen": used.stolen,
                        "cpu": used.cpu * 1e6 / result["requests"],
                    })  # fmt: skip
                    say(f"round {number}  {target.letter}  {connections} connections: {rate:.0f}/s, p99 {result['p99']} us")
            bench.stop(process)
    return results


def main():
    made = parser(
        "workers",
        f"One worker on core 0 against two on both cores, with many connections and with {FEW} busy ones. The app (two\n"
        "workers) and the load (one thread) run on both cores too, so the figures are of a machine that does everything.",
        TARGETS, seconds=6,
    )  # fmt: skip
    made.add_argument("--tries", type=int, default=3, help=f"times {FEW} new connections are opened in a round (%(default)s)")
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    lines = []
    for target in settings.chosen:
        for kind, connections in (("even", settings.connections), ("few", FEW)):
            runs = [run for run in results[target.letter] if run["kind"] == kind]
            lines.append([
                f"{target.letter}  {target.title}", f"{connections}", f"{median(runs, 'rate'):.0f}",
                report.span(runs, "rate", 0),
                f"{median(runs, 'cpu'):.2f}", f"{median(runs, 'p50'):.0f}", f"{median(runs, 'p99'):.0f}",
                report.span(runs, "p99", 0),
            ])  # fmt: skip
    heads = ["target", "connections", "requests/s", "min-max", "CPU us/request", "p50 us", "p99 us", "min-max"]
    report.shown(settings, heads, lines, [
        report.machine("app and load on both cores, beside the workers"),
        report.versions(settings),
        f"requests as fast as answers come; {FEW} connections are opened anew {settings.tries} times a round, for a part each",
        report.rounds(settings, results, "by the host"),
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
