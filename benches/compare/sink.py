"""An app that takes uploads as fast as they come and forgets them: `sink.py PORT`."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 256 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        left, room = int(self.headers["Content-Length"]), memoryview(bytearray(BLOCK))
        while left:
            got = self.rfile.readinto(room[: min(BLOCK, left)])
            if not got:
                raise EOFError("the body broke off")
            left -= got
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
