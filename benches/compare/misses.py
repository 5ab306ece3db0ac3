"""What a session costs that is not in memory: each token is used once, by a gateway that has just started."""

import json

import report
import rows
from measure import Failed, Used, cpu_seconds, output
from postgres import Postgres
from stage import compiled, in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import Target

TARGETS = [
    Target("a", "PostgreSQL, on core 1", values={"STORE": "postgres"}),
    Target("b", "SQLite, in the gateway", values={"STORE": "sqlite"}),
]


def prepared(settings, bench):
    """Makes the tables by a first start, and fills them: other tokens for every round, so that none was used before."""
    numbers = range(settings.tokens * settings.rounds)
    postgres = Postgres(bench) if any(t.letter == "a" for t in settings.chosen) else None
    bench.tokens = []  # no sessions by POST
    for target in settings.chosen:
        target.values["STORE"] = postgres.url if target.letter == "a" else f"sqlite:{bench.state}/sessions.db"
        process, _ = bench.start(target)
        bench.stop(process)
        if target.letter == "a":
            rows.fill_postgres(postgres.psql, bench.work, numbers, settings.user_agent)
        else:
            rows.fill_sqlite(bench.state / "sessions.db", numbers, settings.user_agent)
    for number in range(settings.rounds):
        rows.write_tokens(bench.work / f"round-{number}", numbers[number * settings.tokens :][: settings.tokens])
    return postgres


def measure(settings, bench):
    program = compiled(settings, bench, "http_load")
    bench.start_upstream()
    postgres = prepared(settings, bench)
    settings.store_version = postgres.version() if postgres else ""
    done = {t.letter: 0 for t in settings.chosen}

    def once(target, process, port):
        tokens = bench.work / f"round-{done[target.letter]}"
        done[target.letter] += 1
        figures = {"stolen": 0}
        for kind in ("cold", "warm"):
            stores = cpu_seconds(postgres.process.pid) if target.letter == "a" else 0
            with Used(process.pid) as used:
                command = [program, port, "127.0.0.1", settings.connections, 120, 0, f"once:{tokens}", settings.user_agent]
                result = json.loads(output(*command))
            if result["ok"] != settings.tokens or result["broken"]:
                raise Failed(f"{target.title}: not every token was good: {result}")
            stores = cpu_seconds(postgres.process.pid) - stores if target.letter == "a" else 0
            figures |= {
                (kind, "cpu"): used.cpu * 1e6 / result["requests"], (kind, "store"): stores * 1e6 / result["requests"],
                (kind, "rate"): result["requests"] / (result["micros"] / 1e6), (kind, "p50"): result["p50"],
                (kind, "p99"): result["p99"], "stolen": max(figures["stolen"], used.stolen),
            }  # fmt: skip
        figures["shown"] = f"{figures['cold', 'rate']:.0f} misses/s, {figures['cold', 'cpu']:.0f} us each"
        return figures

    return interleaved(settings, bench, once)


def main():
    made = parser(
        "misses",
        "Sessions that are not in memory: their rows were put into the store beforehand, and each token is used once, then all\n"
        "once more from memory. One worker on core 0, where the file is read too; PostgreSQL, app and load share core 1.",
        TARGETS, tokens=60_000,
    )  # fmt: skip
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    heads = ["store", "tokens", "requests/s", "CPU us/request", "min-max", "of the store, on core 1", "p50 us", "p99 us"]
    lines = []
    for target in settings.chosen:
        runs = results[target.letter]
        for kind, what in (("cold", "not in memory"), ("warm", "the same again")):
            lines.append([
                f"{target.letter}  {target.title}", what, f"{median(runs, (kind, 'rate')):.0f}",
                f"{median(runs, (kind, 'cpu')):.1f}", report.span(runs, (kind, "cpu"), 1),
                f"{median(runs, (kind, 'store')):.1f}" if target.letter == "a" else "-",
                f"{median(runs, (kind, 'p50')):.0f}", f"{median(runs, (kind, 'p99')):.0f}",
            ])  # fmt: skip
    report.shown(settings, heads, lines, [
        report.machine("one worker on core 0; PostgreSQL, app and load on core 1"),
        "; ".join(filter(None, [report.versions(settings), settings.store_version])),
        f"{settings.connections} connections; {settings.tokens} tokens, of as many users, last used an hour before, so that their "
        "last use is written too; PostgreSQL over its socket, as it is installed",
        f"medians of {settings.rounds} interleaved rounds, each with other tokens and a gateway that has just started; at most "
        f"{report.most_stolen(results):.0%} of core 0 taken by the host or other programs",
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
