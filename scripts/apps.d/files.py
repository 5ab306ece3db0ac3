"""Large files down and up, with a constant amount of memory in the gateway."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time

from browser import send
from memory import Memory
from processes import here, wait_until

MIB = 1024 * 1024
# More than this, in MiB, is a body that was collected somewhere.
GROWTH = 32


def run(report, processes):
    size = int(os.environ.get("APPS_MIB", "1024")) * MIB
    files = processes.directory / "files"
    files.mkdir()
    big = files / "big.bin"
    make(big, size)
    whole = hash_of(big)
    small = files / "small.bin"
    small.write_bytes(os.urandom(5 * MIB + 123))

    report.title(f"python -m http.server: a file of {size // MIB} MiB down")
    _, port = processes.serve_python("http-server", ["-m", "http.server", "--bind", "127.0.0.1", "--directory", str(files), "{port}"])
    gateway = processes.gateway(port)
    downloads(report, gateway, size, whole)

    report.title("Ranges")
    _, port = processes.serve_python("range-server", ["-m", "RangeHTTPServer", "--bind", "127.0.0.1", "{port}"], files)
    ranges(report, "RangeHTTPServer", processes.gateway(port), small, processes.directory)
    if nginx := shutil.which("nginx"):
        ranges(report, "nginx", processes.gateway(start_nginx(processes, nginx, files)), small, processes.directory)
    else:
        report.say("     nginx is not installed: not tried")

    report.title(f"A sink that counts and hashes: {size // MIB} MiB up")
    _, port = processes.serve_python("sink", [str(here("sink.py")), "{port}"])
    _, slow_port = processes.serve_python("slow-sink", [str(here("sink.py")), "{port}", str(8 * MIB)])
    uploads(report, processes.gateway(port), big, size, whole)
    slow_upload(report, processes.gateway(slow_port), big)


def make(path, size):
    """Random at first and holes behind: quickly made, and not to be mistaken for anything else."""
    with open(path, "wb") as file:
        file.write(os.urandom(min(4 * MIB, size)))
        file.truncate(size)


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bearer(session):
    return ("Authorization", f"Bearer {session['token']}")


def warm(gateway, session):
    """What is set up once is no growth."""
    for _ in range(20):
        send(gateway.port, "GET", "/small.bin", [bearer(session), ("User-Agent", "curl/8")])


def downloads(report, gateway, size, whole):
    check = report.check
    session = gateway.issue("ann", user_agent="curl/8")
    answer = send(gateway.port, "GET", "/big.bin")
    check("without a session there is no file", (answer.status, answer.problem) == (401, "missing_token"), answer.brief())
    warm(gateway, session)

    began = time.monotonic()
    with Memory(gateway.pid) as memory:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        connection.request("GET", "/big.bin", headers=dict([bearer(session), ("User-Agent", "curl/8")]))
        response = connection.getresponse()
        digest, count = hashlib.sha256(), 0
        buffer = bytearray(256 * 1024)
        while length := response.readinto(buffer):
            digest.update(memoryview(buffer)[:length])
            count += length
        connection.close()
    seconds = time.monotonic() - began
    check("it arrives whole", (response.status, count, digest.hexdigest()) == (200, size, whole), f"{count} bytes in {seconds:.1f} s, {count / MIB / seconds:.0f} MiB/s, SHA-256 equal")
    check(f"the gateway grows by less than {GROWTH} MiB", memory.growth < GROWTH, memory.brief())

    with Memory(gateway.pid) as memory:
        arguments = ["--limit-rate", "4M", "--max-time", "4", "--output", "/dev/null", "--write-out", "%{http_code} %{size_download}"]
        status, count = curl(gateway, session, "/big.bin", arguments, allowed=(28,))[1].split()
    count = int(count)
    check("a client that reads slowly gets its bytes", status == "200" and MIB < count < size, f"{count / MIB:.1f} MiB in 4 s")
    check(f"and makes the gateway grow by less than {GROWTH} MiB", memory.growth < GROWTH, memory.brief())
    wait_until("the connection of a client that left is closed", lambda: gateway.metric("gateway_connections_open") == 0)

    with Memory(gateway.pid) as memory:
        arguments = ["--limit-rate", "1M", "--max-time", "3", "--output", "/dev/null"]
        slow = [start_curl(gateway, session, "/big.bin", arguments) for _ in range(16)]
        ended = {process.wait(30) for process in slow}
    check("sixteen such clients at once", ended == {28}, f"curl ends with {sorted(ended)}: its time was up")
    check(f"make it grow by less than {GROWTH} MiB together", memory.growth < GROWTH, memory.brief())


def start_curl(gateway, session, path, arguments):
    # The token goes through a configuration on standard input: arguments show in the process list.
    command = ["curl", "--silent", "--show-error", "--user-agent", "curl/8", "--config", "-", *arguments, f"{gateway.url}{path}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if session:
        process.stdin.write(f'header = "Authorization: Bearer {session["token"]}"\n')
    process.stdin.close()
    process.stdin = None
    return process


def curl(gateway, session, path, arguments, allowed=()):
    process = start_curl(gateway, session, path, arguments)
    out, error = process.communicate(timeout=300)
    if process.returncode not in (0, *allowed):
        raise RuntimeError(f"curl ended with {process.returncode}: {error}")
    return process.returncode, out


def start_nginx(processes, nginx, files):
    place = processes.directory / "nginx"
    place.mkdir()
    settings = place / "nginx.conf"

    # nginx has no port on its command line, so its file is written by a shell that is told the port.
    template = f"""
daemon off; worker_processes 1; pid {place}/pid; error_log stderr warn; events {{}}
http {{
    access_log off; types {{}} default_type application/octet-stream;
    client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
    server {{ listen 127.0.0.1:PORT; root {files}; }}
}}
"""
    # A worker of a master that is root becomes another user, who must find the files.
    for directory in (processes.directory, files):
        directory.chmod(0o755)
    settings.write_text(template)
    script = f'sed -i "s/PORT/$1/" {settings} && exec {nginx} -e stderr -p {place} -c {settings}'
    return processes.serve("nginx", ["sh", "-c", script, "sh", "{port}"])[1]


def ranges(report, name, gateway, file, directory):
    check = report.check
    content = file.read_bytes()
    session = gateway.issue("ann", user_agent="curl/8")

    def get(*headers):
        return send(gateway.port, "GET", f"/{file.name}", [bearer(session), ("User-Agent", "curl/8"), *headers])

    answer = get(("Range", "bytes=1000-1999"))
    good = (answer.status, answer.headers["Content-Range"], answer.body) == (206, f"bytes 1000-1999/{len(content)}", content[1000:2000])
    check(f"{name}: a range arrives as it is", good, f"{answer.status} {answer.headers['Content-Range']}")
    answer = get(("Range", f"bytes={len(content)}-"))
    check(f"{name}: a range behind the end is refused by it", answer.status == 416, answer.brief())

    if name == "nginx":
        etag = get().headers["ETag"]
        answer = get(("If-None-Match", etag))
        check(f"{name}: what has not changed is not sent again", (answer.status, answer.body) == (304, b""), answer.brief())
        answer = get(("Range", "bytes=5-9"), ("If-Range", '"another"'))
        check(f"{name}: If-Range with another version gets the whole", (answer.status, answer.body == content) == (200, True), answer.brief())
        answer = get(("Range", "bytes=0-9,100-109"))
        parts = answer.body.count(content[:10]) + answer.body.count(content[100:110])
        check(f"{name}: two ranges in one answer", answer.status == 206 and answer.headers.get_content_type() == "multipart/byteranges" and parts == 2, f"{answer.status} {answer.headers.get_content_type()}")

    # A download that breaks off three times, and is resumed where it did; curl resumes the last time.
    part = directory / f"{name}.part"
    with open(part, "wb") as output:
        for length in (1, 1_000_000, 2 * MIB + 7):
            output.write(broken_off(gateway, session, f"/{file.name}", output.tell(), length))
    _, status = curl(gateway, session, f"/{file.name}", ["--continue-at", "-", "--output", str(part), "--write-out", "%{http_code}"])
    check(f"{name}: a download resumed where it broke off equals the original", status == "206" and part.read_bytes() == content, f"{len(content)} bytes in 4 parts")


def broken_off(gateway, session, path, start, length):
    """Some bytes of a download whose client then hangs up."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    try:
        connection.request("GET", path, headers=dict([bearer(session), ("User-Agent", "curl/8"), ("Range", f"bytes={start}-")]))
        return connection.getresponse().read(length)
    finally:
        connection.close()


def uploads(report, gateway, big, size, whole):
    check = report.check
    session = gateway.issue("ann", user_agent="curl/8")
    _, out = curl(gateway, None, "/up", ["--upload-file", str(big), "--output", "/dev/null", "--write-out", "%{http_code} %{size_upload}"])
    check("without a session curl, which asks before it sends, sends nothing", out == "401 0", out)
    for _ in range(20):
        curl(gateway, session, "/up", ["--upload-file", str(here("sink.py"))])
    for how, arguments in (("with Content-Length", []), ("in chunks", ["--header", "Transfer-Encoding: chunked"])):
        began = time.monotonic()
        with Memory(gateway.pid) as memory:
            _, out = curl(gateway, session, "/up", ["--upload-file", str(big), *arguments])
        seconds = time.monotonic() - began
        seen = json.loads(out)
        expected = {"bytes": size, "sha256": whole, "chunked": bool(arguments), "user": "ann"}
        check(f"sent {how}, it arrives whole and {how}", seen == expected, f"{seen['bytes']} bytes in {seconds:.1f} s, {size / MIB / seconds:.0f} MiB/s, SHA-256 equal")
        check(f"the gateway grows by less than {GROWTH} MiB", memory.growth < GROWTH, memory.brief())


def slow_upload(report, gateway, big):
    check = report.check
    session = gateway.issue("ann", user_agent="curl/8")
    with Memory(gateway.pid) as memory:
        arguments = ["--upload-file", str(big), "--max-time", "4", "--write-out", "%{size_upload}"]
        code, out = curl(gateway, session, "/up", arguments, allowed=(28,))
    sent = int(out) / MIB
    check("an application that reads slowly slows the client down", code == 28 and sent < 64 + GROWTH, f"{sent:.1f} MiB taken in 4 s")
    check(f"and the gateway grows by less than {GROWTH} MiB", memory.growth < GROWTH, memory.brief())
