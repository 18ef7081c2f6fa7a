"""A connection test in a child process; what the child has sent counts, wherever it stops."""

import time
from collections.abc import Callable
from typing import Any

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code
from datasources.connections.outcome import Outcome, no_outcome, read_outcome, read_stage
from datasources.connections.sandbox.process import run_in_child
from datasources.connections.stages import Stage, StageName, Stages, stage
from rivergen.egress.policy import EgressPolicy


async def attempt_in_child(configuration: Configuration, policy: EgressPolicy) -> Outcome:
    """Test a connection in a child process, within `connection_timeout` seconds."""
    progress = Progress(configuration.connection_timeout)
    is_over = await run_in_child(attempt_and_send, configuration, policy, progress)
    return progress.outcome(Code.DRIVER_CRASHED if is_over else Code.DEADLINE)


class Progress:
    """What the parent knows of a connection test so far."""

    is_over = False

    def __init__(self, seconds: float) -> None:
        self.seconds = self.seconds_max = seconds
        self._outcome: Outcome | None = None
        self._passed: list[Stage] = []
        self._running: tuple[StageName, float] | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Store a message of the child. Raises KeyError, TypeError or ValueError if malformed."""
        if "outcome" in message:
            self._outcome = read_outcome(message["outcome"])
            self.is_over = True
        else:
            self._passed = [read_stage(given) for given in message["passed"]]
            self._running = (message["running"], time.monotonic())

    def outcome(self, code: Code) -> Outcome:
        """Return the outcome that the child sent; without one, an outcome with `code`."""
        if self._outcome is not None:
            return self._outcome
        stages = [*self._passed]
        if self._running is not None:
            name, start = self._running
            stages.append(stage(name, False, time.monotonic() - start))
        return no_outcome(code, stages)


def attempt_and_send(
    configuration: Configuration, policy: EgressPolicy, send: Callable[..., None]
) -> None:
    """Test a connection in this process; send each stage when it begins, and the outcome."""

    def send_stage(stages: Stages, name: StageName) -> None:
        send(running=name, passed=[stage for stage in stages.to_list() if stage["ok"]])

    send(outcome=attempt(configuration, policy, Stages(send_stage)))
