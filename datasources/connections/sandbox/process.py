"""A child process for whatever touches a source, ended by force when its time is over.

A driver's own time-outs are not enough: some hang on a server that says nothing, in C, where no
exception reaches them. The child is forked from a small server process that has loaded the code and
some drivers, nothing else: it knows no database and no keys, and it can tell its parent JSON only.
"""

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import resource
import select
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from datasources.connections.configuration import Configuration
from rivergen.egress.policy import EgressPolicy

# Beyond its time: the child has to start, and what ends in time has to be told.
GRACE_SECONDS = 0.5
# Many that load their drivers at once leave the processor to the worker, which has their deadlines.
NICENESS = 10
MESSAGE_MAX_BYTES = 64 * 1024
# A server can send more than a machine holds. DuckDB takes half of it, with a file to read.
MEMORY_MAX_BYTES = 1024**3
# What drivers may know of the environment: no PG*, no HTTP_PROXY, no keys, no home.
KEPT_VARIABLES = ("LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ")
KEPT_PREFIX = "AWS_"  # of the storage

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "datasources.preload"])
# To start a child takes some milliseconds, in which other jobs are to be fetched. It is one thread:
# multiprocessing is not made for several, and what is started is ended after that.
STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


def start_forkserver() -> None:
    """Start the process that children are forked from, which takes the time of loading the code."""
    environment = dict(os.environ)
    forget_environment()  # for good: what a process was started with stays to be read in /proc
    try:
        forkserver.ensure_running()
    finally:
        os.environ.update(environment)


class Work(Protocol):
    """What a child does: a function of a module, which tells what it has to tell."""

    def __call__(
        self, configuration: Configuration, policy: EgressPolicy, tell: Callable[..., None]
    ) -> None: ...


class Listener(Protocol):
    """Hears what a child tells; it may stop anywhere."""

    seconds: float
    """How long the child may take, counted from the call; what it tells may change that."""
    seconds_max: float
    is_over: bool
    """Whether all is told."""

    def take(self, message: dict[str, Any]) -> None:
        """Take note of a message. Raises LookupError, TypeError or ValueError for nonsense."""


async def run_in_child(
    work: Work, configuration: Configuration, policy: EgressPolicy, listener: Listener
) -> bool:
    """Do something in a child process, and give whether it came to an end in time.

    It goes through any free port where the configuration names an `ssh_local_port`: that one is for
    `DataSource.connect`, and whoever tests could keep it from others.

    The child is ended when its time and half a second are over, counted from the call, and when
    this is cancelled.
    """
    configuration = dataclasses.replace(configuration, ssh_local_port=None)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    storage = {"STORAGE_ROOT": settings.STORAGE_ROOT, "STORAGE_URL": settings.STORAGE_URL}
    seconds_max = listener.seconds_max + GRACE_SECONDS
    child = CONTEXT.Process(
        target=_be_child,
        args=(sender, work, configuration, policy, storage, seconds_max),
        daemon=True,
    )
    loop = asyncio.get_running_loop()
    start = loop.time() + GRACE_SECONDS
    messages = Messages(receiver, listener)
    try:
        await loop.run_in_executor(STARTER, _start, child, sender)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(start + listener.seconds) as timeout:
                while await messages.more():
                    timeout.reschedule(start + listener.seconds)
        return messages.is_over
    finally:
        messages.close()
        await asyncio.shield(loop.run_in_executor(STARTER, _end, child, sender))


def _start(child: ForkServerProcess, sender: "Connection[object, object]") -> None:
    try:
        child.start()
    finally:
        sender.close()


def _end(child: ForkServerProcess, sender: "Connection[object, object]") -> None:
    """End a child by force, if it was started at all."""
    if child.pid is not None:
        if child.is_alive():  # else its number may be another process's by now
            child.kill()
        child.join()
    child.close()
    sender.close()


class Messages:
    """What comes from a child, in lines of JSON."""

    def __init__(self, receiver: "Connection[object, object]", listener: Listener) -> None:
        self._receiver = receiver
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._line = b""
        self._news = asyncio.Event()
        self.is_over = False
        self._loop.add_reader(receiver.fileno(), self._read)

    async def more(self) -> bool:
        """Wait until something was told; false if there will be nothing more."""
        await self._news.wait()
        self._news.clear()
        return not self.is_over

    def close(self) -> None:
        """Listen no longer."""
        self._loop.remove_reader(self._receiver.fileno())
        self._receiver.close()

    def _read(self) -> None:
        self._news.set()
        part = os.read(self._receiver.fileno(), MESSAGE_MAX_BYTES)
        *lines, self._line = (self._line + part).split(b"\n")
        with contextlib.suppress(LookupError, RecursionError, TypeError, ValueError):
            for line in lines:
                self._listener.take(json.loads(line))
            if part and not self._listener.is_over and len(self._line) < MESSAGE_MAX_BYTES:
                return
        # What a driver does at its end, such as waiting for its threads, is of no interest.
        self._loop.remove_reader(self._receiver.fileno())
        self.is_over = True


def _be_child(
    sender: "Connection[object, object]",
    work: Work,
    configuration: Configuration,
    policy: EgressPolicy,
    storage: dict[str, Any],
    seconds: float,
) -> None:
    """Be the child."""
    threading.Thread(target=end_with_parent, args=(sender,), daemon=True).start()
    # For a driver that lets no other thread run: not handled, this signal ends it. A parent that is
    # there comes first, and knows that it was the time.
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS)
    os.nice(NICENESS)
    limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to act upon
    forget_environment()
    settings.configure(**storage)  # all that it knows of ours

    def tell(**message: object) -> None:
        os.write(sender.fileno(), json.dumps(message).encode() + b"\n")

    work(configuration, policy, tell)


def end_with_parent(sender: "Connection[object, object]") -> None:
    """End by force when nobody listens any more, as when the worker was killed."""
    listening = select.poll()
    listening.register(sender.fileno(), 0)  # an error is told unasked
    listening.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def limit_memory() -> None:
    """Take no more than so much; of a machine that runs short, be the first to be ended."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would have the secrets
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def forget_environment() -> None:
    """Keep of the environment only what drivers may know."""
    for name in [*os.environ]:
        if name not in KEPT_VARIABLES and not name.startswith(KEPT_PREFIX):
            del os.environ[name]
