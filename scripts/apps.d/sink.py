"""A server that takes uploads, counts and hashes them, and answers with what it counted.

    sink.py PORT [BYTES_PER_SECOND]
"""

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1])
RATE = int(sys.argv[2]) if len(sys.argv) > 2 else None
BLOCK = 256 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        began = time.monotonic()
        digest, count = hashlib.sha256(), 0
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        for block in self.chunks() if chunked else self.counted(int(self.headers.get("Content-Length", 0))):
            digest.update(block)
            count += len(block)
            if RATE:
                time.sleep(max(0, count / RATE - (time.monotonic() - began)))
        answer = json.dumps({"bytes": count, "sha256": digest.hexdigest(), "chunked": chunked, "user": self.headers.get("X-Auth-User")})
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def counted(self, left):
        while left:
            block = self.rfile.read(min(BLOCK, left))
            if not block:
                raise EOFError("the body broke off")
            left -= len(block)
            yield block

    def chunks(self):
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self.counted(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
