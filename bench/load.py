"""Keep a server busy over keep-alive connections, and read what its processes spend on it."""

import selectors
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

CONNECTIONS = 16
RECEIVED_AT_ONCE = 65_536

MakeRequest = Callable[[int], bytes]
"""Gives the bytes of the request of a number, counted over all connections."""


@dataclass
class Measurement:
    """What some requests cost."""

    requests: int
    seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def cpu_ms(self) -> float:
        """CPU time of the server for one request, in milliseconds."""
        return 1000 * self.cpu_seconds / self.requests

    @property
    def per_second(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds

    def latency_ms(self, percent: int) -> float:
        """Give the latency that so many per cent of the requests did not exceed, in ms."""
        return 1000 * statistics.quantiles(self.latencies, n=100)[percent - 1]


class Connection:
    """One keep-alive connection, with one request under way at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; say whether the answer is complete. Raises RuntimeError if bad."""
        data = self.socket.recv(RECEIVED_AT_ONCE)
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


def content_length(head: bytes) -> int:
    """Read the length of a body."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def measure(
    port: int, pid: int, make_request: MakeRequest, requests: int, connections: int = CONNECTIONS
) -> Measurement:
    """Send so many requests to the server whose main process is `pid`."""
    selector = selectors.DefaultSelector()
    opened = [Connection(port) for _ in range(connections)]
    for connection in opened:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    before, started_at = cpu_seconds(pid), time.perf_counter()
    latencies: list[float] = []
    sent = 0
    for connection in opened:
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
    for connection in opened:
        connection.socket.close()
    return Measurement(len(latencies), seconds, spent, latencies)


def cpu_seconds(pid: int) -> float:
    """Give the CPU time, in user and kernel, of a process and all below it (/proc/<pid>/stat)."""
    main = psutil.Process(pid)
    times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def memory_mb(pid: int) -> float:
    """Give the proportional set size of a process and all below it (/proc/<pid>/smaps)."""
    main = psutil.Process(pid)
    processes = (main, *main.children(recursive=True))
    return sum(process.memory_full_info().pss for process in processes) / 1e6
