"""Serve ClickHouse's HTTP interface with chDB, the engine of ClickHouse without a server.

The arguments are the name and the password of the only user, and a port of 127.0.0.1. The login is
this program's; the answers are those of the engine.
"""

import base64
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb import session


class Door(BaseHTTPRequestHandler):
    """Answers a request with the result of its query."""

    protocol_version = "HTTP/1.1"
    expected = ""
    engine = session.Session()
    one_at_a_time = threading.Lock()

    def do_POST(self) -> None:
        """Run the query in the body."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        parameters = {
            name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()
        }
        if self.headers.get("Authorization", "") != self.expected:
            self.answer(403, b"Code: 516. DB::Exception: Authentication failed", "")
            return
        shape = self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        try:
            with self.one_at_a_time:
                if database := parameters.get("database"):
                    self.engine.query(f"USE `{database}`")
                statement = parameters.get("query", "") + body
                data = self.engine.query(statement, shape).bytes() or b""
        except Exception as error:
            self.answer(500, str(error).encode(), "")
            return
        self.answer(200, data, shape)

    do_GET = do_POST

    def answer(self, status: int, data: bytes, shape: str) -> None:
        """Send a response."""
        self.send_response(status)
        headers = {"X-ClickHouse-Format": shape, "X-ClickHouse-Summary": "{}"}
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    user, password, port = sys.argv[1:]
    Door.expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    ThreadingHTTPServer(("127.0.0.1", int(port)), Door).serve_forever()
