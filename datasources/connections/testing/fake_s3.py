"""A fake S3 store: HEAD and GET of objects, with ranges; signatures are not checked."""

import hashlib
import re
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from unittest import TestCase, mock

MODIFIED_AT = formatdate(1_700_000_000, usegmt=True)


class FakeS3:
    """A fake S3 store on a free port of this machine until the test ends.

    `objects` maps paths (`/bucket/key`) to contents. `ranges` has the ranges that were requested,
    as (first, last) bytes; None stands for a request without a range.
    """

    def __init__(self, test: TestCase, *, knows_ranges: bool = True, denies: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.ranges: list[tuple[int, int] | None] = []
        self.knows_ranges = knows_ranges
        self.denies = denies
        server = Server(self)
        test.addCleanup(server.server_close)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        test.addCleanup(server.shutdown)
        variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        test.enterContext(mock.patch.dict("os.environ", variables))


class Server(ThreadingHTTPServer):
    """The HTTP server behind FakeS3, with one thread per connection."""

    daemon_threads = True

    def __init__(self, store: FakeS3) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = store


class Handler(BaseHTTPRequestHandler):
    """Answers one HEAD or GET request with an object of the fake store."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        store = self.server.store
        data = store.objects.get(self.path)
        if store.denies or data is None:
            return self.send(403 if store.denies else 404, b"", {})
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.headers.get("If-Match", etag) != etag:
            return self.send(412, b"", {})
        headers = {"ETag": etag, "Last-Modified": MODIFIED_AT}
        if not with_body:
            return self.send(200, data, headers, with_body=False)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = map(int, asked.groups()) if asked else (0, len(data) - 1)
        store.ranges.append((start, end) if asked else None)
        if not asked or not store.knows_ranges:
            return self.send(200, data, headers)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return self.send(206, data[start : end + 1], headers)

    def send(self, status, data, headers, *, with_body=True):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass
