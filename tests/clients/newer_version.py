"""A fake of a newer version of the service: its responses have new members and new values."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

NEW_MEMBER = "added_later"
NEW_CODE = "ADDED_LATER"
NEW_VALUE = "added_later"
# Members with one of a list of values that may grow (docs/api.md, rules for clients).
GROWING = {"type", "origin", "stage", "kind", "common_type"}
HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "date"}


def extended(value: Any) -> Any:
    """Return a JSON value with a new member in each object, and new values in place of old ones.

    Maps whose members are data (metadata, details, changes) are left as they are.
    """
    if isinstance(value, list):
        return [extended(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {
        name: member if name in ("metadata", "details", "changes") else extended(member)
        for name, member in value.items()
    }
    if "request_id" in changed and "code" in changed:
        changed["code"] = NEW_CODE
    changed |= dict.fromkeys(GROWING & changed.keys(), NEW_VALUE)
    return changed | {NEW_MEMBER: {"a": [1]}}


@contextmanager
def newer_version(port: int) -> Iterator[int]:
    """Yield the port of a proxy that extends what the service on `port` answers."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "accept-encoding"}
            connection = HTTPConnection("127.0.0.1", port)
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
            if content:
                content = json.dumps(extended(json.loads(content))).encode()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = do_PATCH = forward

        def log_message(self, format: str, *args: Any) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
