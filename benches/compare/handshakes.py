"""What TLS handshakes cost the server: full and resumed ones, with TLS 1.3 and 1.2, in handshakes per processor second."""

import pathlib
import subprocess
import sys

import report
from measure import Failed, Used, output
from stage import in_a_bench, interleaved, median, parser, prepare, run, settings_of
from targets import Target

KINDS = [("1.3", "full"), ("1.3", "resumed"), ("1.2", "full"), ("1.2", "resumed")]

NGINX = """    ssl_certificate @DIR@/../cert.pem;
    ssl_certificate_key @DIR@/../key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;"""
HAPROXY = " ssl crt @DIR@/../both.pem alpn http/1.1"
GATEWAY = """[[server.tls]]
cert = "@DIR@/../cert.pem"
key = "@DIR@/../key.pem"
"""

TARGETS = [
    Target("a", "nginx (OpenSSL)", "nginx.conf", "nginx-plain.conf", checks=False,
           values={"LISTEN_MORE": " ssl", "SERVER_MORE": NGINX}),
    Target("b", "haproxy (OpenSSL)", "haproxy.cfg", "haproxy-map.cfg", values={"LISTEN_MORE": HAPROXY}),
    Target("c", "session-gateway (rustls)", values={"SECTIONS": GATEWAY}),
]  # fmt: skip


def certificate(directory):
    """One for all targets: ECDSA on P-256, signed by itself."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    both = (directory / "cert.pem").read_text() + (directory / "key.pem").read_text()
    (directory / "both.pem").write_text(both)


def shake(settings, bench, port, version, kind, seconds):
    """Handshakes one after the other on each of `settings.connections` clients; how many there were."""
    program = pathlib.Path(settings.here) / "handshake_client.py"
    arguments = [port, version, kind, seconds, settings.connections, bench.work / "cert.pem"]
    count, other = map(int, output(sys.executable, program, *arguments).split())
    if other or not count:
        raise Failed(f"{other} of {count + other} handshakes with TLS {version} were not {kind}")
    return count


def measure(settings, bench):
    certificate(bench.work)
    bench.tokens = []  # nobody asks for anything

    def once(target, process, port):
        figures = {"stolen": 0}
        for version, kind in KINDS:
            shake(settings, bench, port, version, kind, settings.warmup)
            with Used(process.pid) as used:
                count = shake(settings, bench, port, version, kind, settings.seconds)
            figures[version, kind] = used.cpu * 1e6 / count
            figures["stolen"] = max(figures["stolen"], used.stolen)
        figures["shown"] = "us: " + "  ".join(f"{v} {k} {figures[v, k]:.0f}" for v, k in KINDS)
        return figures

    bench.start_upstream()
    return interleaved(settings, bench, once)


def main():
    made = parser(
        "handshakes",
        "TLS handshakes for each processor second of the server, full and resumed, with TLS 1.3 and 1.2: connect, handshake,\n"
        "close; no request. One worker on core 0; the clients (Python with OpenSSL) share core 1.",
        TARGETS, seconds=3, connections=4, tokens=1,
    )  # fmt: skip
    settings = settings_of(made, TARGETS)
    prepare(settings)
    results = in_a_bench(settings, lambda bench: measure(settings, bench))
    heads, rows = ["target"], []
    for version, kind in KINDS:
        heads += [f"{version} {kind}, per CPU s", "us each", "ratio to a"]
    for target in settings.chosen:
        runs = results[target.letter]
        row = [f"{target.letter}  {target.title}"]
        for key in KINDS:
            cost = median(runs, key)
            row += [f"{1e6 / cost:.0f}", f"{cost:.0f} ({report.span(runs, key, 0)})", report.ratio(runs, results.get("a"), key)]
        rows.append(row)
    report.shown(settings, heads, rows, [
        report.machine("one worker on core 0, clients on core 1"),
        report.versions(settings, ("openssl", "version")),
        f"one self-signed certificate for all, ECDSA P-256; X25519; {settings.connections} clients, each with one handshake at a "
        "time; the clients are slower than the servers, whose processor time is what counts",
        report.rounds(settings, results) + "; each of the four kinds has this time",
    ])  # fmt: skip


if __name__ == "__main__":
    run(main)
