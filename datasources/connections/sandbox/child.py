"""The child's side of the sandbox: limit the process, then do the work and send messages."""

import contextlib
import json
import os
import resource
import select
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from datasources.connections.configuration import Configuration
from datasources.connections.sandbox.environment import keep_harmless_variables
from rivergen.egress.policy import EgressPolicy

# Children run at low priority: many that load drivers at once must not starve the worker.
NICENESS = 10
# A server can send more than the machine can hold. DuckDB alone takes half of this for a file.
MEMORY_MAX_BYTES = 1024**3


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
    seconds_max: float,
) -> None:
    """Run `work` in this process, and kill the process after `seconds_max`.

    `storage` has the settings of Django that the child needs: it gets no others.
    """
    threading.Thread(target=end_with_parent, args=(sender,), daemon=True).start()
    # Some drivers block all Python threads in C. SIGALRM without a handler still ends the process.
    signal.setitimer(signal.ITIMER_REAL, seconds_max)
    os.nice(NICENESS)
    limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the worker ends its children
    keep_harmless_variables()
    settings.configure(**storage)

    def send(**message: object) -> None:
        os.write(sender.fileno(), json.dumps(message).encode() + b"\n")

    work(configuration, policy, send)


def end_with_parent(sender: "Connection[object, object]") -> None:
    """Kill this process once the parent has closed its end of the pipe, as when it was killed."""
    parent = select.poll()
    parent.register(sender.fileno(), 0)  # poll(2) reports errors without being asked for them
    parent.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def limit_memory() -> None:
    """Limit the memory of this process, and let the kernel kill it first if memory runs out."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the secrets
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
