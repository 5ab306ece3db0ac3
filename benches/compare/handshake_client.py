"""TLS clients that do nothing but handshakes: `handshake_client.py PORT 1.3|1.2 full|resumed SECONDS CLIENTS CERTIFICATE`.

Each connects, shakes hands, and closes in the order TLS asks for, by which it also takes the server's tickets. A resumed
handshake has the newest ticket. Prints how many handshakes there were, and how many were not of the kind that was asked for.
"""

import multiprocessing
import socket
import ssl
import sys
import time


def handshakes(port, version, resumed, seconds, certificate):
    context = ssl.create_default_context(cafile=certificate)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
    session, counts, until = None, [0, 0], time.monotonic() + seconds
    first = resumed  # the one that brings the first ticket does not count
    while time.monotonic() < until:
        raw = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as client:
            right = client.session_reused == resumed
            inner = client._sslobj  # unwrap() parts from it, and the session with the newest ticket is there
            try:
                client.unwrap()  # waits for the server's own end; the tickets of TLS 1.3 come before it
            except (ssl.SSLError, OSError):
                pass  # a server need not answer
            if resumed:
                session = inner.session
        if not first:
            counts[not right] += 1
        first = False
    return counts


def main():
    port, version, kind, seconds, clients, certificate = sys.argv[1:]
    task = (int(port), version, kind == "resumed", float(seconds), certificate)
    with multiprocessing.Pool(int(clients)) as pool:
        counts = pool.starmap(handshakes, [task] * int(clients))
    print(sum(right for right, _ in counts), sum(wrong for _, wrong in counts))


main()
