"""A fake of an S3-like store: HEAD and GET of objects, by ranges, no signatures checked."""

import hashlib
import re
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from unittest import TestCase, mock

MODIFIED_AT = formatdate(1_700_000_000, usegmt=True)


class FakeS3:
    """Serves `objects`, by their paths (`/bucket/key`), on a port of this machine.

    `ranges` has what was asked for, as (start, end), both included; None: all of it.
    """

    def __init__(self, test: TestCase, *, knows_ranges: bool = True, denies: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.ranges: list[tuple[int, int] | None] = []
        self.knows_ranges = knows_ranges
        self.denies = denies
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, *, with_body):
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

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
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
