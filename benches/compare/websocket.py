"""What WebSocket messages cost: processor time of the proxy per message, with an echo app and a few busy sockets."""

import json
import pathlib

import report
from measure import Used, output
from stage import compiled, in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import Target, free_port

SIZE = 100

TARGETS = [
    Target("a", "nginx, proxying only", "nginx.conf", "nginx-websocket.conf", checks=False),
    Target("b", "haproxy + map file", "haproxy.cfg", "haproxy-map.cfg"),
    Target("c", "session-gateway"),
]


def measure(settings, bench):
    program = compiled(settings, bench, "websocket")
    app = bench.work / "echo"
    app.mkdir()
    bench.ports["UPSTREAM"] = free_port()
    bench.spawn("the echo app", 1, [program, "echo", bench.ports["UPSTREAM"]], app, bench.ports["UPSTREAM"])

    def load(target, port, seconds):
        token = pathlib.Path(bench.token_list(target)).read_text().split()[0]
        printed = output(program, "load", port, settings.connections, SIZE, seconds, token, settings.user_agent)
        return json.loads(printed)

    def once(target, process, port):
        load(target, port, settings.warmup)
        with Used(process.pid) as used:
            result = load(target, port, settings.seconds)
        messages, wall = 2 * result["round_trips"], result["micros"] / 1e6
        figures = {
            "cpu_us": used.cpu * 1e6 / messages, "per_cpu": messages / used.cpu, "rate": messages / wall,
            "busy": used.cpu / wall, "p50": result["p50"], "p99": result["p99"], "stolen": used.stolen,
        }  # fmt: skip
        figures["shown"] = "{cpu_us:6.2f} us/message  {rate:7.0f}/s  core 0 {busy:4.0%} busy".format(**figures)
        return figures

    return interleaved(settings, bench, once)


def main():
    made = parser(
        "websocket",
        f"WebSocket messages of {SIZE} bytes, one on its way on each socket, through the proxy to an echo app and back.\n"
        "One worker on core 0; app and clients (a small C program) share core 1.",
        TARGETS, connections=32, tokens=1,
    )  # fmt: skip
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    rows = []
    for target in settings.chosen:
        runs = results[target.letter]
        rows.append([
            *report.cost(target, results), f"{median(runs, 'per_cpu'):.0f}", f"{median(runs, 'rate'):.0f}",
            f"{median(runs, 'busy'):.0%}", f"{median(runs, 'p50'):.0f}", f"{median(runs, 'p99'):.0f}",
        ])  # fmt: skip
    heads = ["target", "CPU us/message", "min-max", "ratio to a", "messages/CPU s", "messages/s", "core busy"]
    report.shown(settings, [*heads, "p50 us there and back", "p99 us"], rows, [
        report.machine("one worker on core 0, app and clients on core 1"),
        report.versions(settings),
        f"{settings.connections} sockets, {SIZE} bytes each way; a message and its echo count as two; "
        + report.rounds(settings, results),
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
