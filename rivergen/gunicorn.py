"""How gunicorn serves: `gunicorn -c python:rivergen.gunicorn rivergen.wsgi`."""

import atexit
import contextlib
import gc
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from http import HTTPStatus
from importlib import import_module
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from rivergen import settings
from rivergen.logs import JSONFormatter, request_id

# To read what is left of a body that nobody wanted, so that its sender gets to read the answer.
LEAVE_SECONDS = 2


class EnvelopeWorker(ThreadWorker):
    """Answer everybody, in the envelope: also what is no HTTP, and who came just before the end."""

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begin or stop to accept connections; before the end, accept those that wait for it.

        gunicorn would reset them, although their requests may have been sent. Who comes later is
        refused, or accepted by another worker.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            accepted = -1
            while accepted < self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()

    def handle(self, conn: TConn) -> Any:
        """Answer a request; if its connection ends with it, take leave of the client here.

        gunicorn would have the thread that accepts connections wait until the client has closed its
        side, for two seconds, and all other clients with it.
        """
        keeps_alive = super().handle(conn)
        if keeps_alive is False:
            with contextlib.suppress(OSError, ParseException):
                if conn.parser is not None:
                    conn.parser.finish_body(deadline=time.monotonic() + LEAVE_SECONDS)
                conn.sock.shutdown(socket.SHUT_RDWR)
        return keeps_alive

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Refuse what is no HTTP, where gunicorn would answer in HTML.

        Such a request never reaches Django; its connection is closed.
        """
        # This file is read before Django is set up.
        from rivergen.responses import BUG, error_body

        current = uuid.uuid4().hex
        token = request_id.set(current)
        if isinstance(exc, ParseException):
            self.log.warning("[%s] Not a valid request, from %s: %r", current, addr, str(exc))
            status = HTTPStatus.BAD_REQUEST
            message = "This is not valid HTTP, or its first line or its headers are too long."
        else:
            self.log.error("[%s] Unexpected error", current, exc_info=exc)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            message = BUG
        body = json.dumps(error_body(status, message)).encode()
        request_id.reset(token)
        head = (
            f"HTTP/1.1 {status:d} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-ID: {current}\r\n\r\n"
        )
        with contextlib.suppress(OSError):  # whoever sent nonsense may not wait for an answer
            util.write(client, head.encode() + body)


class JSONLogger(Logger):
    """gunicorn's own log, in the form of all the others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONFormatter())


def make_metrics_folder() -> None:
    """Make the folder where the web processes count their requests, for as long as they live.

    It must be known before the application is loaded, which is before any hook is called.
    """
    folder = tempfile.mkdtemp(prefix="rivergen-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # a fork inherits the handler, not the duty
        shutil.rmtree(folder, ignore_errors=True)


make_metrics_folder()
forwarded_allow_ips = ",".join(settings.FORWARDED_ALLOW_IPS)
bind = f"{settings.BIND_ADDRESS}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = EnvelopeWorker
if settings.LOG_FORMAT == "json":
    logger_class = JSONLogger
threads = 8
# Load once and fork: the workers share the memory of the code.
preload_app = True
keepalive = 75  # seconds; longer than a proxy keeps its side open
graceful_timeout = 30
control_socket_disable = True  # nobody steers it, and it would be in a home directory
limit_request_line = 8190  # bytes; the most there is, for lists with many filters


def when_ready(server: Any) -> None:
    """Load, before the workers are forked, what each would load by itself, and keep it shared.

    A page of memory is shared until it is written to, and the collector writes to every object it
    looks at: those that are there by now it is to pass by. No database is asked here, because a
    connection must not be shared.
    """
    for module in (settings.ROOT_URLCONF, "rest_framework_simplejwt.state"):
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.collect()  # it waits for more to collect, the more there was the last time: now next to none
    # Each request leaves its rows in cycles, those of a list of 50 are 0.3 MB. By default a full
    # collection comes after 70,000 objects, when there are 100 of them.
    gc.set_threshold(2_000, 2, 2)


def child_exit(server: Any, worker: Any) -> None:
    """Forget the requests that a web process had in hand; what it has counted stays."""
    # When it is imported, it looks whether there is a folder.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
