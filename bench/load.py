"""A load generator over keep-alive connections, which also reads the server's CPU and memory."""

import selectors
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

CONNECTIONS = 16
RECEIVE_BYTES = 65_536

MakeRequest = Callable[[int], bytes]
"""Returns the bytes of request number n, counted over all connections."""


@dataclass
class Measurement:
    """The cost of a number of requests."""

    requests: int
    seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def cpu_ms(self) -> float:
        """Return the CPU time of the server per request, in milliseconds."""
        return 1000 * self.cpu_seconds / self.requests

    @property
    def per_second(self) -> float:
        """Return the requests per second."""
        return self.requests / self.seconds

    def latency_ms(self, percent: int) -> float:
        """Return a percentile of the latency, in milliseconds."""
        return 1000 * statistics.quantiles(self.latencies, n=100)[percent - 1]


class Connection:
    """A keep-alive connection with one request in flight at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Receive more bytes, and return whether the response is complete.

        Raises RuntimeError unless the status is 200 or 304.
        """
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise RuntimeError("The server has closed the connection.")
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < content_length(head):
            return False
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")):
            raise RuntimeError(self._received.decode(errors="replace")[:1000])
        self._received = b""
        return True


def http_request(method: str, path: str, token: str, body: str = "") -> bytes:
    """Return the bytes of a request below `/api/v1/data-sources`."""
    return (
        f"{method} /api/v1/data-sources{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def content_length(head: bytes) -> int:
    """Return the length of the body that the headers announce."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def measure(
    port: int, pid: int, make_request: MakeRequest, requests: int, connections: int = CONNECTIONS
) -> Measurement:
    """Send a number of requests to the server whose main process is `pid`, and measure it."""
    selector = selectors.DefaultSelector()
    clients = [Connection(port) for _ in range(connections)]
    for connection in clients:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    before, started_at = cpu_seconds(pid), time.perf_counter()
    latencies: list[float] = []
    sent = 0
    for connection in clients:
        connection.send(make_request(sent))
        sent += 1
    while len(latencies) < requests:
        for key, _ in selector.select():
            connection = key.data
            if not connection.receive():
                continue
            latencies.append(time.perf_counter() - connection.sent_at)
            if sent < requests:
                connection.send(make_request(sent))
                sent += 1
    seconds = time.perf_counter() - started_at
    spent = cpu_seconds(pid) - before
    for connection in clients:
        connection.socket.close()
    return Measurement(len(latencies), seconds, spent, latencies)


def cpu_seconds(pid: int) -> float:
    """Return the user and system CPU time of a process and its descendants (/proc/<pid>/stat)."""
    main = psutil.Process(pid)
    times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


def memory_mb(pid: int) -> float:
    """Return the proportional set size of a process and its descendants (/proc/<pid>/smaps)."""
    main = psutil.Process(pid)
    processes = (main, *main.children(recursive=True))
    return sum(process.memory_full_info().pss for process in processes) / 1e6
