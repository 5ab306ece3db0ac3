"""What the gateway and nginx keep in memory: for an idle connection, and for a session in the gateway's cache."""

import json
import socket
import time

import report
import rows
from measure import Failed, Used, output, rss_mib
from stage import compiled, in_a_bench, interleaved, median, open_files, parser, prepare, run, say, settings_of
from targets import BODY, Target

MANY = 'max_connections = 20000\nmax_connections_per_client = 0\nidle_timeout = "1h"'
CACHE = '[cache]\ncapacity = @SESSIONS@\nttl = "1h"\n'

# Seconds after the last request: what a program gives back of an idle connection it has given back by then.
REST = 5

TARGETS = [
    Target("a", "nginx, idle connection", "nginx.conf", "nginx-plain.conf", checks=False, values={"CONNECTIONS": 30_000}),
    Target("b", "session-gateway, idle connection", values={"SERVER_MORE": MANY}),
    Target("c", "session-gateway, session in memory", values={"SECTIONS": CACHE}),
]


def idle_connections(settings, bench, target, port):
    """Opens them one after the other, each with one request, and leaves them open."""
    with open(bench.token_list(target)) as lines:
        token = lines.readline().strip()
    ask = f"GET / HTTP/1.1\r\nHost: app\r\nUser-Agent: {settings.user_agent}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    held = []
    for _ in range(settings.connections):
        connection = socket.create_connection(("127.0.0.1", port))
        held.append(connection)
        connection.sendall(ask)
        answer = b""
        while not answer.endswith(BODY.encode()):
            got = connection.recv(4096)
            answer += got
            if not got or not answer.startswith(b"HTTP/1.1 200"):
                raise Failed(f"{target.title}: connection {len(held)} got {answer[:200]!r}")
    return held


def sessions(settings, bench, target, port):
    """Uses each token once."""
    command = [compiled(settings, bench, "http_load"), port, "127.0.0.1", 64, 200, 0, f"once:{bench.work}/million"]
    result = json.loads(output(*command, settings.user_agent))
    if result["ok"] != settings.sessions:
        raise Failed(f"{target.title}: not every token was used and good: {result}")
    say(f"{result['requests'] / (result['micros'] / 1e6):.0f} sessions/s read from the store")
    return []


def measure(settings, bench):
    bench.start_upstream()

    def once(target, process, port):
        count, fill = (settings.sessions, sessions) if target.letter == "c" else (settings.connections, idle_connections)
        before = rss_mib(process.pid)
        with Used(process.pid) as used:
            held = fill(settings, bench, target, port)
        time.sleep(REST)
        after = rss_mib(process.pid)
        for connection in held:
            connection.close()
        each = (after - before) * (1 << 20) / count
        shown = f"{before:.1f} MiB, with {count} {after:.1f} MiB: {each:.0f} bytes each"
        return {"count": count, "before": before, "after": after, "each": each, "stolen": used.stolen, "shown": shown}

    connections = [t for t in settings.chosen if t.letter != "c"]
    results = interleaved(settings, bench, once, connections)
    for target in settings.chosen:
        if target.letter != "c":
            continue
        target.values["SECTIONS"] = CACHE.replace("@SESSIONS@", str(settings.sessions * 11 // 10))
        process, _ = bench.start(target)  # makes the tables
        bench.stop(process)
        say(f"filling the store with {settings.sessions} sessions")
        rows.fill_sqlite(bench.state / "sessions.db", range(settings.sessions), settings.user_agent)
        rows.write_tokens(bench.work / "million", range(settings.sessions))
        settings.rounds = 1  # it takes minutes, and a count of bytes does not vary much
        results |= interleaved(settings, bench, once, [target])
    return results


def main():
    made = parser(
        "memory",
        "Resident memory for each idle keep-alive connection after one request on it, and for each session in the gateway's\n"
        "cache. Sessions are measured in one round.",
        TARGETS, connections=10_000, tokens=1,
    )  # fmt: skip
    made.add_argument("--sessions", type=int, default=1_000_000, help="sessions in memory (%(default)s)")
    settings = settings_of(made, TARGETS)
    prepare(settings)
    open_files(settings.connections + 2000)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    lines = []
    for target in settings.chosen:
        runs = results[target.letter]
        lines.append([
            f"{target.letter}  {target.title}", f"{runs[0]['count']:,}", f"{median(runs, 'before'):.1f}",
            f"{median(runs, 'after'):.1f}", f"{median(runs, 'each'):.0f}", report.span(runs, "each", 0),
        ])  # fmt: skip
    heads = ["what", "number", "RSS MiB before", "RSS MiB with them", "bytes each", "min-max"]
    report.shown(settings, heads, lines, [
        report.machine("one worker on core 0"),
        report.versions(settings),
        "RSS of all processes of the target; what the kernel keeps for a socket is not in it",
        "sessions: a user, one role, no name and no e-mail address; SQLite's page cache is in the difference",
        f"connections: medians of {max(len(runs) for runs in results.values())} interleaved rounds; sessions: one",
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
