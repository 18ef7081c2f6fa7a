"""Open raw sockets to the web server as it is deployed."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse

from rivergen.testing.gunicorn import gunicorn

PATIENCE_SECONDS = 20


class Web:
    """A running web server."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        """Return an open connection with a timeout, so that a test fails instead of hanging."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)

    def get(self, path: str = "/healthz") -> HTTPResponse:
        """Send a valid request over a new connection, and return the response."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", path)
        response = connection.getresponse()
        response.text = response.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return response


@contextmanager
def serving(**variables: str) -> Iterator[Web]:
    """Serve until the block ends."""
    variables = {"RATE_LIMIT_TOKEN": "1000000/min", **variables}
    with gunicorn(**variables) as (process, port):  # type: ignore[arg-type]
        yield Web(process, port)


def read_response(peer: socket.socket, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    """Return one response and its body."""
    response = HTTPResponse(peer, method=method)
    response.begin()
    return response, response.read()
