"""The child's side of the sandbox: limit the process, then do the work and send messages."""

import json
import os
import select
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from django.conf import settings

from datasources.connections.configuration import Configuration
from datasources.connections.sandbox.lockdown import lock_down
from rivergen.egress.policy import EgressPolicy

# Children run at low priority: many that load drivers at once must not starve the worker.
NICENESS = 10


class Work(Protocol):
    """The work of a child: a function of a module, which reports through `send`."""

    def __call__(
        self, configuration: Configuration, policy: EgressPolicy, send: Callable[..., None], /
    ) -> None: ...


def child_main(
    sender: "Connection[object, object]",
    work: Work,
    configuration: Configuration,
    policy: EgressPolicy,
    storage: dict[str, Any],
    variables: dict[str, str],
    seconds_max: float,
) -> None:
    """Run `work` in this process, and kill the process after `seconds_max`.

    `storage` has the settings of Django, and `variables` the environment variables, that the child
    needs: it gets no others.
    """
    # Some drivers block all Python threads in C. SIGALRM without a handler still ends the process.
    signal.setitimer(signal.ITIMER_REAL, seconds_max)
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the worker ends its children
    os.environ.update(variables)
    settings.configure(**storage)
    lock_down(configuration, kept=sender.fileno())
    # Only now: a thread that already ran would not be restricted.
    threading.Thread(target=end_with_parent, args=(sender,), daemon=True).start()

    def send(**message: object) -> None:
        os.write(sender.fileno(), json.dumps(message).encode() + b"\n")

    work(configuration, policy, send)


def end_with_parent(sender: "Connection[object, object]") -> None:
    """End this process once the parent has closed its end of the pipe, as when it was killed."""
    parent = select.poll()
    parent.register(sender.fileno(), 0)  # poll(2) reports errors without being asked for them
    parent.poll()
    os._exit(1)
