"""The settings of gunicorn: `gunicorn -c python:rivergen.server.gunicorn rivergen.wsgi`.

A client that sends half a request keeps a thread busy. In production, put a proxy in front that
reads requests to their end: deploy/haproxy.cfg.
"""

import atexit
import gc
import os
import shutil
import socket
import tempfile
from importlib import import_module
from typing import Any

from gunicorn.glogging import Logger

from rivergen.hidden_environment import hand_over, hide_environment

hide_environment()

from rivergen import settings  # noqa: E402  # after the program was started again
from rivergen.observability.logs import JSONFormatter  # noqa: E402

# gunicorn drops at most so much of a body that the application has not read; beyond that it closes
# the connection.
UNREAD_MAX_BYTES = 64 * 1024
# How long the kernel waits for the first bytes of a connection before gunicorn accepts it.
SILENT_SECONDS = 30


class JSONLogger(Logger):
    """gunicorn's own log, formatted as JSON like the log of the application."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONFormatter())


def make_metrics_folder() -> None:
    """Make the folder for the metrics of the web processes, and remove it on exit.

    prometheus-client reads the path on import, which is before gunicorn calls any hook.
    """
    folder = tempfile.mkdtemp(prefix="rivergen-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # forked workers inherit the exit handler
        shutil.rmtree(folder, ignore_errors=True)


make_metrics_folder()
forwarded_allow_ips = ",".join(settings.FORWARDED_ALLOW_IPS)
bind = f"{settings.BIND_ADDRESS}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = "rivergen.server.worker.ProbingWorker"
threads = 8
if settings.LOG_FORMAT == "json":
    logger_class = JSONLogger
# Import before forking: the workers share the memory of the code.
preload_app = True
keepalive = 75  # seconds; longer than the proxy keeps an idle connection
graceful_timeout = 30
control_socket_disable = True  # unused, and by default in a home directory
limit_request_line = 8190  # the maximum, for lists with many filters
sendfile = False  # sendfile() waits without a time limit for a client that does not read


def pre_request(worker: Any, request: Any) -> None:
    """Announce `Connection: close` if the body is so large that a refusal would not read it.

    Otherwise the client would send its next request on a connection that is being closed.
    """
    length = dict(request.headers).get("CONTENT-LENGTH", "")
    if length.isdecimal() and int(length) >= UNREAD_MAX_BYTES:
        request.force_close()


def pre_exec(server: Any) -> None:
    """Pass the hidden variables on to the new main process that SIGUSR2 starts."""
    server.cfg.env_orig, _ = hand_over()


def when_ready(server: Any) -> None:
    """Prepare the listening sockets and the memory of the workers, before they are forked."""
    for listener in server.LISTENERS:
        # The worker recognizes a probe by the first bytes, so they must be there on accept. Also,
        # a client that connects and sends nothing takes no thread.
        listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_SECONDS)
    import_and_freeze()


def import_and_freeze() -> None:
    """Import the modules that workers need, then freeze the garbage collector.

    Otherwise the collector would touch, and so unshare, every copy-on-write page. No import may
    connect to the database: forked processes must not share a connection.
    """
    for module in (settings.ROOT_URLCONF, "rest_framework_simplejwt.state"):
        import_module(module)
    gc.collect()
    gc.freeze()
    gc.collect()  # resets the number of long-lived objects, which would delay full collections
    # Each request leaves its rows in reference cycles (0.3 MB for a list of 50). By default a full
    # collection happens only after 70,000 objects, about 100 such requests.
    gc.set_threshold(2_000, 2, 2)


def child_exit(server: Any, worker: Any) -> None:
    """Remove the gauges of a web process that has ended; its counters stay."""
    # Imported here because the import reads PROMETHEUS_MULTIPROC_DIR.
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
