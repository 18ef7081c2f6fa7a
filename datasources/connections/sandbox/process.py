"""The parent's side of the sandbox: run code that reaches a source in a child process.

The timeouts of drivers are not enough: some hang in C on a silent server, where no exception
reaches them. So each child is killed when its time is over. Children are forked from a small server
process that has loaded the library and some drivers. It knows no database and no keys, and a child
can send nothing but JSON to its parent.
"""

import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from django.conf import settings

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.files.storage import store_variables
from datasources.connections.sandbox.child import Work, child_main
from datasources.connections.sandbox.environment import harmless_variables
from datasources.connections.sandbox.messages import MessageListener, Messages
from rivergen.egress.policy import EgressPolicy

# Seconds added to the time of a child, to start and to send its last message.
GRACE_SECONDS = 0.5

CONTEXT = multiprocessing.get_context("forkserver")
PRELOAD = "datasources.connections.sandbox.preload"
# The first child starts the fork server if `start_forkserver` was not called.
CONTEXT.set_forkserver_preload([PRELOAD])
# Starting a child blocks for some milliseconds, in which the event loop has to go on. One thread:
# multiprocessing is not thread-safe, and a child is ended after it was started.
STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


def start_forkserver(preload: Sequence[str] = ()) -> None:
    """Start the process that children are forked from, and import `preload` in it.

    `preload` names the modules, beside those of the library, that define the work of children.
    """
    CONTEXT.set_forkserver_preload([PRELOAD, *preload])
    environment, harmless = dict(os.environ), harmless_variables()
    # multiprocessing's resource tracker, which this starts as well, shows its environment in /proc.
    os.environ.clear()
    os.environ.update(harmless)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.update(environment)


async def run_in_child(
    work: Work, configuration: Configuration, policy: EgressPolicy, listener: MessageListener
) -> bool:
    """Run `work` in a child process. Return whether it ended in time.

    Kills the child `listener.seconds` and half a second after the call, and on cancellation.
    A tunnel takes any free local port, not the `ssh_local_port` of the configuration: that one is
    for `connect`, and a test must not block it.
    """
    configuration = dataclasses.replace(configuration, ssh_local_port=None)
    receiver, sender = CONTEXT.Pipe(duplex=False)
    storage = {"STORAGE_ROOT": settings.STORAGE_ROOT, "STORAGE_URL": settings.STORAGE_URL}
    is_in_store = settings.STORAGE_URL and CONNECTORS[configuration.type].reads_storage
    variables = store_variables() if is_in_store else {}
    # The child kills itself later than the parent would, so that the parent can report a timeout.
    seconds_max = listener.seconds_max + 2 * GRACE_SECONDS
    child = CONTEXT.Process(
        target=child_main,
        args=(sender, work, configuration, policy, storage, variables, seconds_max),
        daemon=True,
    )
    loop = asyncio.get_running_loop()
    start = loop.time() + GRACE_SECONDS
    messages = Messages(receiver, listener)
    try:
        await loop.run_in_executor(STARTER, _start, child, sender)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(start + listener.seconds) as timeout:
                while await messages.wait():
                    timeout.reschedule(start + listener.seconds)
        return messages.is_over
    finally:
        messages.close()
        await asyncio.shield(loop.run_in_executor(STARTER, _end, child, sender))


def _start(child: ForkServerProcess, sender: "Connection[object, object]") -> None:
    """Start a child, and close the parent's copy of its end of the pipe."""
    try:
        child.start()
    finally:
        sender.close()


def _end(child: ForkServerProcess, sender: "Connection[object, object]") -> None:
    """Kill a child if it still runs, and release what belongs to it."""
    if child.pid is not None:  # the child was started
        if child.is_alive():  # otherwise the pid may belong to another process
            child.kill()
        child.join()
    child.close()
    sender.close()
