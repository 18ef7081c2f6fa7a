"""gunicorn's gthread worker, with threads of their own for health checks and metrics."""

import fcntl
import socket
import struct
import termios
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

PROBES = ("/healthz", "/readyz", "/metrics")
PROBE_MAX_BYTES = 4_096
END_OF_HEADERS = b"\r\n\r\n"
HEADERS_OF_BODIES = (b"\ncontent-length:", b"\ntransfer-encoding:")


class ProbingWorker(ThreadWorker):
    """Answers health checks and metrics even while all request threads are taken.

    Otherwise requests that wait for a lock or for a slow client would get the container restarted.
    """

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return RequestThreads(self.cfg.threads)


class RequestThreads(ThreadPoolExecutor):
    """The threads for requests, and one more for each kind of probe."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "request")
        self._probes = {path: ThreadPoolExecutor(1, path) for path in PROBES}

    def submit(self, handle: Any, connection: Any, /) -> "Future[Any]":  # type: ignore[override]
        """Handle the request that has arrived on a connection of gunicorn."""
        path = None if has_read_ahead(connection) else probe(connection.sock)
        if path is not None:
            return self._probes[path].submit(handle, connection)
        return super().submit(handle, connection)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for threads in self._probes.values():
            threads.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


def has_read_ahead(connection: Any) -> bool:
    """Return whether gunicorn will first handle bytes that it has read with an earlier request."""
    return connection.parser is not None and bool(connection.parser.unreader.buf.getvalue())


def probe(client: socket.socket) -> str | None:
    """Return the path of the probe that has arrived on a connection; None for another request.

    Only a whole request without a body counts: the rest of another one could keep the thread
    waiting. So could a client that has not read earlier answers. The bytes stay in the connection.
    """
    try:
        if has_unread_answers(client):
            return None
        head = client.recv(PROBE_MAX_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # nothing has arrived
        return None
    if not head.startswith((b"GET /", b"HEAD /")) or not head.endswith(END_OF_HEADERS):
        return None
    path = head.split(b" ", 2)[1].decode("latin-1")
    if path not in PROBES or any(name in head.lower() for name in HEADERS_OF_BODIES):
        return None
    return path


def has_unread_answers(client: socket.socket) -> bool:
    """Return whether bytes sent to a client have not arrived there yet. Raises OSError."""
    count = fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))
    return struct.unpack("=i", count) != (0,)
