"""How gunicorn serves: `gunicorn -c python:rivergen.gunicorn rivergen.wsgi`."""

import atexit
import gc
import os
import shutil
import tempfile
from importlib import import_module
from typing import Any

from gunicorn.glogging import Logger

from rivergen import settings
from rivergen.arrival import FIELDS_MAX, LINE_MAX_BYTES
from rivergen.observability.logs import JSONFormatter
from rivergen.web_worker import EnvelopeWorker


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
limit_request_line = LINE_MAX_BYTES  # the most there is, for lists with many filters
limit_request_fields = FIELDS_MAX
sendfile = False  # it would wait for ever for a client that takes nothing of a file


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
