"""What large bodies cost: processor seconds per GiB and throughput, downloads of 1 MiB and 1 GiB, and an upload of 1 GiB."""

import os
import pathlib
import shutil
import sys
import tempfile

import report
from measure import Failed, Used, load, output, rss_mib
from stage import in_a_bench, interleaved, median, parser, prepare, run, say, settings_of
from targets import Target, free_port

GIB = 1 << 30
SIZES = {"small": 1 << 20, "large": GIB}
BUFFERS = """    client_max_body_size 0;
    proxy_buffers 16 64k;
    proxy_buffer_size 64k;
    proxy_busy_buffers_size 128k;
    client_body_buffer_size 64k;"""
UNBUFFERED = """    proxy_buffering off;
    proxy_request_buffering off;"""


def nginx(letter, title, *more):
    values = {"SERVER_MORE": "\n".join(more)}
    return Target(letter, title, "nginx.conf", "nginx-plain.conf", checks=False, values=values)


TARGETS = [
    nginx("a", "nginx, as by default", "    client_max_body_size 0;"),
    nginx("b", "nginx, buffering off", "    client_max_body_size 0;", UNBUFFERED),
    nginx("c", "nginx, buffers of 64 KiB", BUFFERS),
    nginx("d", "nginx, 64 KiB, buffering off", BUFFERS, UNBUFFERED),
    Target("e", "haproxy + map file", "haproxy.cfg", "haproxy-map.cfg"),
    Target("f", "session-gateway"),
]  # fmt: skip


def files_in_memory():
    """A directory in memory with a file of each size, full of zeros that take up room."""
    where = tempfile.mkdtemp(prefix="gateway-compare-", dir="/dev/shm")
    block = bytes(1 << 20)
    for name, size in SIZES.items():
        with open(pathlib.Path(where) / name, "wb") as f:
            for _ in range(size >> 20):
                f.write(block)
    os.chmod(where, 0o755)
    return where


def curl(port, token, settings, path, *more):
    """One transfer; answers its length in seconds."""
    printed = output(
        "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{size_upload} %{time_total}", "-A",
        settings.user_agent, "-H", f"Authorization: Bearer {token}", "-H", "Expect:", *more, f"http://127.0.0.1:{port}{path}",
    )  # fmt: skip
    status, down, up, seconds = printed.split()
    if status != "200" or max(int(down), int(up)) < GIB:
        raise Failed(f"a transfer of 1 GiB ended with {printed}")
    return float(seconds)


def repeated(process, seconds, transfer):
    """Transfers of 1 GiB until the time is over: processor seconds and wall seconds of one, and its memory after."""
    with Used(process.pid) as used:
        took = []
        while sum(took) < seconds:
            took.append(transfer())
    return {"cpu": used.cpu / len(took), "wall": sum(took) / len(took), "stolen": used.stolen}


def measure(settings, bench, files):
    """Downloads for all rounds, then uploads, which go to another app."""

    def token(target):
        return pathlib.Path(bench.token_list(target)).read_text().split()[0]

    def down(target, process, port):
        settings.token_list, settings.path = bench.token_list(target), "/small"
        load(port, settings.warmup, settings)
        with Used(process.pid) as used:
            small = load(port, settings.seconds, settings)
        share = small["bytes"] / GIB
        large = repeated(process, settings.seconds, lambda: curl(port, token(target), settings, "/large"))
        figures = {
            "small_cpu": used.cpu / share, "small_rate": share * 1024 / (small["micros"] / 1e6),
            "down_cpu": large["cpu"], "down_rate": 1024 / large["wall"], "rss": rss_mib(process.pid),
            "stolen": max(used.stolen, large["stolen"]),
        }  # fmt: skip
        figures["shown"] = "1 MiB {small_cpu:.3f} s/GiB, 1 GiB {down_cpu:.3f} s/GiB {down_rate:.0f} MiB/s".format(**figures)
        return figures

    def up(target, process, port):
        put = ("-X", "PUT", "-T", f"{files}/large")
        figures = repeated(process, settings.seconds, lambda: curl(port, token(target), settings, "/", *put))
        figures = {"up_cpu": figures["cpu"], "up_rate": 1024 / figures["wall"], "stolen": figures["stolen"]}
        figures["shown"] = "upload {up_cpu:.3f} s/GiB {up_rate:.0f} MiB/s".format(**figures)
        return figures

    bench.start_upstream("files.conf", FILES=files)
    results = interleaved(settings, bench, down)
    sink = free_port()
    directory = bench.work / "sink"
    directory.mkdir()
    bench.spawn("the sink", 1, [sys.executable, settings.here / "sink.py", sink], directory, sink)
    bench.ports["UPSTREAM"] = sink
    for letter, runs in interleaved(settings, bench, up).items():
        for figures, more in zip(results[letter], runs):
            figures.update(more, stolen=max(figures["stolen"], more["stolen"]))
    return results


def main():
    made = parser(
        "bodies",
        "Bodies of 1 MiB (wrk) and 1 GiB (curl), downloaded, and 1 GiB uploaded: processor seconds of the proxy per GiB, and\n"
        "throughput. One worker on core 0; the app, a file in memory, and the client share core 1.",
        TARGETS, seconds=4, connections=8, tokens=1,
    )  # fmt: skip
    settings = settings_of(made, TARGETS)
    prepare(settings)
    files = files_in_memory()
    say(f"bodies of {', '.join(map(str, SIZES.values()))} bytes in {files}")
    try:
        results = in_a_bench(settings, lambda bench: measure(settings, bench, files))
    finally:
        shutil.rmtree(files, ignore_errors=True)
    heads = ["target"]
    for what in ("1 MiB", "1 GiB", "1 GiB upload"):
        heads += [f"{what}: CPU s/GiB", "min-max", "MiB/s"]
    rows = []
    for target in settings.chosen:
        runs = results[target.letter]
        row = [f"{target.letter}  {target.title}"]
        for key in ("small", "down", "up"):
            cpu = f"{key}_cpu"
            row += [f"{median(runs, cpu):.3f}", report.span(runs, cpu), f"{median(runs, key + '_rate'):.0f}"]
        rows.append([*row, f"{median(runs, 'rss'):.0f}"])
    report.shown(settings, [*heads, "RSS MiB"], rows, [
        report.machine("one worker on core 0, app and client on core 1"),
        report.versions(settings, ("curl", "--version"), ("wrk", "-v")),
        f"1 MiB: wrk, {settings.connections} connections; 1 GiB: curl, one at a time. The app is nginx with sendfile from memory; "
        "the sink reads and forgets",
        report.rounds(settings, results) + "; each of the three kinds has this time",
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
