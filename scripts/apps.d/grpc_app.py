"""A gRPC service without generated code: messages are bytes."""

import sys
import time
from concurrent import futures

import grpc


def user(context):
    return dict(context.invocation_metadata()).get("x-auth-user", "nobody").encode()


def unary(message, context):
    context.set_trailing_metadata((("x-user", user(context)),))
    return b"%s says %s" % (user(context), message)


def download(message, context):
    for number in range(int(message)):
        yield b"%d" % number


def upload(messages, context):
    return b"%d" % sum(len(message) for message in messages)


def chat(messages, context):
    for message in messages:
        yield message.upper()


def slow(message, context):
    time.sleep(5)
    return b"late"


def broken(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


class Service(grpc.GenericRpcHandler):
    METHODS = {
        "/test.Service/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/test.Service/Download": grpc.unary_stream_rpc_method_handler(download),
        "/test.Service/Upload": grpc.stream_unary_rpc_method_handler(upload),
        "/test.Service/Chat": grpc.stream_stream_rpc_method_handler(chat),
        "/test.Service/Slow": grpc.unary_unary_rpc_method_handler(slow),
        "/test.Service/Broken": grpc.unary_unary_rpc_method_handler(broken),
    }

    def service(self, details):
        return self.METHODS.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((Service(),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
