"""The web worker: gunicorn's, but slow clients take no thread, and nonsense gets an envelope."""

import contextlib
import itertools
import json
import select
import selectors
import socket
import struct
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import get_parser
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import InvalidHeader, ParseException
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.gthread import ThreadWorker

from rivergen import settings
from rivergen.arrival import Arrival
from rivergen.observability.logs import request_id

RECEIVE_BYTES = 65_536
PIECE_BYTES = 8_192
RETRY_AFTER_SECONDS = 2
CLOSE_TIMEOUT_SECONDS = 2


class EnvelopeWorker(ThreadWorker):
    """Threads that answer requests, and one loop that waits for them and for what is left.

    In gunicorn the thread that is to answer a request reads it, and waits for the client as long
    as that takes: eight that send half of a request stop the process. Here the loop collects what
    comes, and a thread gets a request once all of it is there.
    """

    request_seconds = 30.0
    """How long a request may take to arrive."""
    send_seconds = 30
    """How long a client may take nothing of an answer, while a thread waits."""
    arriving_max_bytes = 64 * 1024 * 1024
    """The most that a process keeps of requests that are not all there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Both in the order in which the time of each is up.
        self.arriving: dict[Any, Arrival] = {}
        self.leaving: dict[Any, float] = {}
        self.arriving_bytes = 0

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or stop to accept connections; before the end, accept those that wait for it.

        gunicorn would reset them, although their requests may have been sent. Who comes later is
        refused, or accepted by another worker.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()

    def enqueue_req(self, conn: Any) -> None:
        """Let a request arrive, and then have a thread answer it."""
        arrival = Arrival(conn, time.monotonic() + self.request_seconds)
        conn.sock.setblocking(False)
        if conn.parser is None:  # the first request on it
            timeout = struct.pack("ll", self.send_seconds, 0)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        else:
            arrival.add(conn.rest)  # which came with the request before
        self.arriving[conn] = arrival
        self.arriving_bytes += len(arrival.data)
        self.receive(arrival)
        if conn in self.arriving:  # most requests are there at once
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.receive, arrival))

    def receive(self, arrival: Arrival, _: Any = None) -> None:
        """Take in what there is of a request."""
        data = b""
        if not arrival.is_complete:
            try:
                data = arrival.connection.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.end(arrival.connection)
                return
            has_ended = not data
            arrival.add(data)
            self.arriving_bytes += len(data)
            if has_ended and not arrival.data:
                self.end(arrival.connection)
                return
            if not (arrival.is_complete or has_ended):
                self.wait_for_more(arrival)
                return
        self.stop_receiving(arrival.connection)
        self.hand_over(arrival)

    def wait_for_more(self, arrival: Arrival) -> None:
        """See to it that the rest can come."""
        if arrival.wants_continue:
            arrival.wants_continue = False
            with contextlib.suppress(OSError):
                arrival.connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.arriving_bytes > self.arriving_max_bytes:
            message = "Too many large requests are arriving just now."
            self.refuse(arrival, HTTPStatus.SERVICE_UNAVAILABLE, message)

    def hand_over(self, arrival: Arrival) -> None:
        """Have a thread answer what has arrived; to it, nothing comes after that."""
        conn = arrival.connection
        size = arrival.size or len(arrival.data)
        data, conn.rest = bytes(arrival.data[:size]), bytes(arrival.data[size:])
        # In pieces as from a socket: gunicorn copies, with each small chunk, all it was given.
        pieces = (data[start : start + PIECE_BYTES] for start in range(0, size, PIECE_BYTES))
        conn.parser = get_parser(self.cfg, pieces, conn.client)
        conn.initialized = True
        conn.arrival = arrival
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        req._expected_100_continue = False  # it was said, or is not needed any more
        if conn.arrival.is_cut:
            req.force_close()
        if conn.arrival.is_too_large:  # of chunks, too: Django goes by the length, and reads none
            framing = ("CONTENT-LENGTH", "TRANSFER-ENCODING")
            req.headers = [field for field in req.headers if field[0] not in framing]
            req.headers.append(("CONTENT-LENGTH", str(settings.REQUEST_BODY_MAX_BYTES + 1)))
            req.body = Body(LengthReader(IterUnreader(()), 0))
        if req.version >= (1, 1) and "HOST" not in dict(req.headers):
            raise InvalidHeader("HOST", req=req)  # RFC 9112, section 3.2; two are refused earlier
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        # gunicorn reads a part of what nobody has read of the body, and closes the connection if
        # there is more, though the answer has said otherwise. Here, all of it is at hand.
        return keepalive and bool(conn.parser.finish_body())

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Wait for the next request, or end the connection.

        gunicorn would wait in the loop, and do nothing else, until the client has closed it.
        """
        if not fs.cancelled() and fs.exception() is None and fs.result():
            if conn.rest:
                self.enqueue_req(conn)
            else:
                super().finish_request(conn, fs)
        else:
            self.let_go(conn)

    def let_go(self, conn: Any) -> None:
        """Close a connection once the client has seen the answer (RFC 9112, section 9.6)."""
        self.leaving[conn] = time.monotonic() + CLOSE_TIMEOUT_SECONDS
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.discard, conn))
        except (OSError, ValueError):  # it is closed already
            self.end(conn)

    def discard(self, conn: Any, _: Any = None) -> None:
        """Let pass by what a client still sends."""
        try:
            if conn.sock.recv(RECEIVE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.end(conn)

    def end(self, conn: Any) -> None:
        """Close a connection at once."""
        self.stop_receiving(conn)
        self.leaving.pop(conn, None)
        self.nr_conns -= 1
        conn.close()

    def stop_receiving(self, conn: Any) -> None:
        """Pay no more attention to what a client sends."""
        if (arrival := self.arriving.pop(conn, None)) is not None:
            self.arriving_bytes -= len(arrival.data)
        with contextlib.suppress(KeyError, OSError, ValueError):
            self.poller.unregister(conn.sock)

    def murder_pending(self) -> None:
        """End what has taken too long; gunicorn's loop calls this every second."""
        now = time.monotonic()
        for conn in due(self.leaving.items(), now):
            self.end(conn)
        deadlines = ((conn, arrival.deadline) for conn, arrival in self.arriving.items())
        for conn in due(deadlines, now):
            if self.arriving[conn].data:
                message = "The request took too long to arrive."
                self.refuse(self.arriving[conn], HTTPStatus.REQUEST_TIMEOUT, message)
            else:
                self.end(conn)
        if not self.alive:
            self.leave_silent_clients(now)

    def leave_silent_clients(self, now: float) -> None:
        """Before the end, do not wait for requests of which nothing has come for a while."""
        for conn, arrival in [*self.arriving.items()]:
            began_at = arrival.deadline - self.request_seconds
            if not arrival.data and began_at + CLOSE_TIMEOUT_SECONDS <= now:
                self.end(conn)

    def refuse(self, arrival: Arrival, status: HTTPStatus, message: str) -> None:
        """Answer a request that is not all there, and close its connection."""
        self.stop_receiving(arrival.connection)
        current = uuid.uuid4().hex
        self.log.warning("[%s] Refused, from %s: %s", current, arrival.connection.client, message)
        answer(arrival.connection.sock, status, message, current)
        self.let_go(arrival.connection)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        from rivergen.http.responses import BUG

        current = uuid.uuid4().hex
        if isinstance(exc, ParseException):
            self.log.warning("[%s] Not a valid request, from %s: %r", current, addr, str(exc))
            message = "This is not valid HTTP, or its first line or its headers are too long."
            answer(client, HTTPStatus.BAD_REQUEST, message, current)
        else:
            self.log.error("[%s] Unexpected error", current, exc_info=exc)
            answer(client, HTTPStatus.INTERNAL_SERVER_ERROR, BUG, current)


def due(deadlines: Iterable[tuple[Any, float]], now: float) -> list[Any]:
    """Give the connections whose time is up, of (connection, deadline) by deadline."""
    return [conn for conn, _ in itertools.takewhile(lambda entry: entry[1] <= now, deadlines)]


def answer(client: socket.socket, status: HTTPStatus, message: str, current: str) -> None:
    """Send a failure in the envelope, of the request id `current`, that ends the connection."""
    # This file is read before Django is set up.
    from rivergen.http.responses import error_body

    token = request_id.set(current)
    body = json.dumps(error_body(status, message)).encode()
    request_id.reset(token)
    retry = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status:d} {status.phrase}\r\nConnection: close\r\n{retry}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {current}\r\n\r\n"
    )
    with contextlib.suppress(OSError):  # whoever sent nonsense may not wait for an answer
        util.write(client, head.encode() + body)
