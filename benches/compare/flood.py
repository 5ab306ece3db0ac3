"""Whether a flood of unknown tokens harms those who have a session: latency of good traffic at half load, without and with it."""

import concurrent.futures
import json

import report
from measure import Failed, Used, output
from stage import compiled, in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import Target

FEW, FIFTH = "1,000/s", "a fifth of full load"
FLOODS = ["none", FEW, FIFTH, "as fast as it is refused"]

TARGETS = [
    Target("a", "nginx + token map", "nginx.conf", "nginx-map.conf"),
    Target("b", "session-gateway, limits as by default"),
    Target("c", "session-gateway, limits off", values={"SECTIONS": '[limits]\nunknown_tokens_per_client = "0"\n'}),
]


def measure(settings, bench):
    program = compiled(settings, bench, "http_load")

    def load(port, source, seconds, rate, tokens, *before):
        command = [program, port, source, settings.connections, seconds, int(rate), tokens, settings.user_agent]
        return json.loads(output(*before, *command))

    def good(port, target, seconds, rate):
        result = load(port, "127.0.0.1", seconds, rate, f"cycle:{bench.token_list(target)}")
        if result["ok"] != result["requests"] or result["broken"]:
            raise Failed(f"{target.title}: a good token was refused: {result}")
        return result

    def flooded(port, target, flood, most):
        """Good traffic at half of `most`; beside it the flood, on connections of its own."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            beside = None
            if flood != "none":
                rate = {FEW: 1000, FIFTH: most / 5}.get(flood, 0)
                # The flood yields to the other programs on core 1: what it does to them is not the proxy's doing.
                idle = ("chrt", "--idle", "0")
                beside = pool.submit(load, port, settings.flood_from, settings.seconds, rate, "random:", *idle)
            result = good(port, target, settings.seconds, most / 2)
            refused = beside.result() if beside else {"refused": 0, "limited": 0, "ok": 0, "broken": 0, "micros": 1}
        if refused["ok"] or refused["broken"]:
            raise Failed(f"{target.title}: the flood was not just refused: {refused}")
        return result, refused

    def once(target, process, port):
        bench.verify(target, port)
        good(port, target, settings.warmup, 0)
        full = good(port, target, 2, 0)
        most = full["requests"] / (full["micros"] / 1e6)
        figures = {"most": most, "stolen": 0}
        for flood in FLOODS:
            with Used(process.pid) as used:
                result, refused = flooded(port, target, flood, most)
            each = used.cpu / result["requests"]
            figures |= {
                (flood, "p50"): result["p50"], (flood, "p99"): result["p99"], (flood, "busy"): used.cpu / settings.seconds,
                (flood, "reached"): result["requests"] / (most / 2 * settings.seconds),
                (flood, "refused"): refused["refused"] / (refused["micros"] / 1e6),
                (flood, "limited"): refused["limited"] / (refused["refused"] or 1),
            }  # fmt: skip
            if flood == "none":
                figures["each"] = each
            else:
                cost = used.cpu - figures["each"] * result["requests"]
                figures[flood, "cost"] = cost * 1e6 / refused["refused"]
            figures["stolen"] = max(figures["stolen"], used.stolen)
        for flood in FLOODS:
            figures[flood, "ratio"] = figures[flood, "p99"] / figures["none", "p99"]
        figures["shown"] = f"{most:.0f}/s at most; p99 us: " + "  ".join(f"{figures[f, 'p99']}" for f in FLOODS)
        return figures

    bench.start_upstream()
    return interleaved(settings, bench, once)


def main():
    made = parser(
        "flood",
        "Good traffic at a fixed rate, half of what the target can do, and its latency without and with a flood of unknown\n"
        "tokens beside it, on as many other connections. One worker on core 0; app, good traffic and flood share core 1.",
        TARGETS, seconds=5,
    )  # fmt: skip
    made.add_argument("--flood-from", default="127.0.0.1", help="the flood's address, e.g. 127.0.0.2 (%(default)s, as the good)")
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    heads = ["target", "flood", "good requests/s", "p50 us", "p99 us", "min-max", "p99 to none", "refused/s", "of them 429"]
    rows = []
    for target in settings.chosen:
        runs = results[target.letter]
        for flood in FLOODS:
            quiet = flood == "none"
            half = median(runs, "most") / 2 * median(runs, (flood, "reached"))
            rows.append([
                f"{target.letter}  {target.title}", flood, f"{half:.0f}", f"{median(runs, (flood, 'p50')):.0f}",
                f"{median(runs, (flood, 'p99')):.0f}", report.span(runs, (flood, "p99"), 0),
                "1.00" if quiet else f"{median(runs, (flood, 'ratio')):.2f} ({report.span(runs, (flood, 'ratio'))})",
                "-" if quiet else f"{median(runs, (flood, 'refused')):.0f}",
                "-" if quiet else f"{median(runs, (flood, 'limited')):.0%}", f"{median(runs, (flood, 'busy')):.0%}",
                "-" if quiet else f"{median(runs, (flood, 'cost')):.1f}",
            ])  # fmt: skip
    report.shown(settings, [*heads, "core 0 busy", "CPU us/refused"], rows, [
        report.machine("one worker on core 0; app, good traffic and flood (SCHED_IDLE) on core 1"),
        report.versions(settings),
        f"{settings.connections} connections each; the flood comes from {settings.flood_from}, the good traffic from 127.0.0.1; "
        "each request of the flood has another token; the good traffic's sessions are in memory",
        "latency counts from the moment a request was due; CPU us/refused is what the target used beyond the good requests",
        report.rounds(settings, results) + "; each flood has this time",
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
