"""A server of one file on this machine, whose manners a test can spoil."""

import contextlib
import http.server
import re
import threading
import time
from collections.abc import Iterator


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `data` under any path."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file"
        self.data = data
        self.resumes = True  # honours Range
        self.tells_length = True
        self.stops_after = []  # for each request, the bytes after which the connection is cut
        self.refuses = []  # for each request, the status to answer instead of the file
        self.delay = 0.0  # seconds
        self.asked = []  # the Range of every request
        self.sent = 0  # bytes, rounded up to whole pieces


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        begin, status = 0, 200
        if asked and server.resumes:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            status = 206 if begin < len(server.data) else 416
        body = server.data[begin:]
        if server.refuses:
            status, body = server.refuses.pop(0), b"sorry"
        self.send_response(status)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(server.delay)
        body = body[: server.stops_after.pop(0)] if server.stops_after else body
        for begin in range(0, len(body), 1 << 19):
            with contextlib.suppress(ConnectionError):  # the other side has had enough
                self.wfile.write(body[begin : begin + (1 << 19)])
                server.sent += 1 << 19
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(data: bytes) -> Iterator[FileServer]:
    """The server, running."""
    with FileServer(data) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
