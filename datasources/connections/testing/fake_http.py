"""A fake web server."""

import re
import socket

from datasources.connections.testing.listeners import Listener


def serve_http(respond):
    """Return a function that makes a `Listener` act as an HTTP server.

    `respond` takes the body of a request and returns status, a header and a text.
    """

    def answer(listener: Listener, client: socket.socket) -> None:
        while data := listener.receive(client):
            head, _, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            while length and len(body) < int(length[1]):
                body += listener.receive(client)
            status, header, text = respond(body.decode())
            client.sendall(
                f"HTTP/1.1 {status} Words\r\n{header}\r\n"
                f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
            )

    return answer


def answer_as_clickhouse(body: str) -> tuple[int, str, str]:
    """Answer the queries of the driver of ClickHouse: no settings, and the version."""
    if "system.settings" in body:
        return 200, "X-ClickHouse-Summary: {}", ""
    if "timezone" in body:
        return 200, "X-ClickHouse-Format: TabSeparated", "24.3.1.2672\tUTC\n"
    return 200, "X-ClickHouse-Format: TabSeparated", "24.3.1.2672\n"
