"""gRPC end to end: Google's own client, the gateway, Google's own server."""

import importlib.metadata
import queue
import threading
import urllib.request

import grpc
from processes import here

AGENT = "scenario-grpc"


def run(report, processes):
    check = report.check
    report.title(f"grpcio {importlib.metadata.version('grpcio')}: unary calls, streams of all kinds, trailers, deadlines")
    _, port = processes.serve_python("grpc", [str(here("grpc_app.py")), "{port}"])
    gateway = processes.gateway(port, 'protocol = "http2"')
    session = gateway.issue("ann")
    metadata = (("authorization", f"Bearer {session['token']}"),)
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        unary = channel.unary_unary("/test.Service/Unary")

        def failure(call):
            try:
                return call() and "it went through"
            except grpc.RpcError as error:
                return error.code().name, error.details()

        code = failure(lambda: unary(b"hello"))[0]
        check("without a session UNAUTHENTICATED", code == "UNAUTHENTICATED", code)
        answer, call = unary.with_call(b"hello", metadata=metadata)
        check("a unary call with the user from the session, and trailing metadata", (answer, dict(call.trailing_metadata()).get("x-user")) == (b"ann says hello", "ann"), answer.decode())
        made_up = unary(b"hello", metadata=(*metadata, ("x-auth-user", "root")))
        check("a user that the client made up does not arrive", made_up == b"ann says hello", made_up.decode())
        large = b"x" * 3_000_000
        check("3 MB up and down", unary(large, metadata=metadata) == b"ann says " + large)
        parts = list(channel.unary_stream("/test.Service/Download")(b"10000", metadata=metadata))
        check("10,000 messages down", parts == [b"%d" % number for number in range(10_000)])
        total = channel.stream_unary("/test.Service/Upload")((b"x" * 1000 for _ in range(10_000)), metadata=metadata)
        check("10,000 messages up", total == b"10000000", total.decode())
        outgoing = queue.Queue()
        chat = channel.stream_stream("/test.Service/Chat")(iter(outgoing.get, None), metadata=metadata)
        said = []
        for word in (b"one", b"two", b"three"):
            outgoing.put(word)
            said.append(next(chat))
        check("a conversation, each answer before the next word", said == [b"ONE", b"TWO", b"THREE"], said)
        seen = failure(lambda: channel.unary_unary("/test.Service/Broken")(b"", metadata=metadata))
        check("the service's own error, with its words", seen == ("FAILED_PRECONDITION", "not today"), seen)
        seen = failure(lambda: channel.unary_unary("/test.Service/Nowhere")(b"", metadata=metadata))[0]
        check("a method that is not there", seen == "UNIMPLEMENTED", seen)
        seen = failure(lambda: channel.unary_unary("/test.Service/Slow")(b"", metadata=metadata, timeout=0.5))[0]
        check("a deadline", seen == "DEADLINE_EXCEEDED", seen)
        calls = [unary.future(b"%d" % number, metadata=metadata) for number in range(500)]
        good = sum(call.result() == b"ann says %d" % number for number, call in enumerate(calls))
        check("500 calls at once", good == 500, good)

        revoke(gateway, session)
        ended = []
        waiting = threading.Thread(target=lambda: ended.append(failure(lambda: next(chat))))
        waiting.start()
        waiting.join(10)
        check("the open conversation ends with its session", bool(ended) and ended[0] != "it went through", ended)
        code = failure(lambda: unary(b"hello", metadata=metadata))[0]
        check("and the next call is UNAUTHENTICATED", code == "UNAUTHENTICATED", code)


def revoke(gateway, session):
    """Another session of the same user ends this one."""
    other = gateway.issue("ann", user_agent=AGENT)["token"]
    request = urllib.request.Request(
        f"{gateway.url}/_sessions/{session['id']}", method="DELETE", headers={"Authorization": f"Bearer {other}", "User-Agent": AGENT}
    )
    urllib.request.urlopen(request, timeout=10).close()
