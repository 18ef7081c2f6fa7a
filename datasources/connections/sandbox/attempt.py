"""A connection test in a child process: what it has told counts, wherever it stops."""

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
    """Reach a source, log in, and ask it something, within `connection_timeout`."""
    progress = Progress(configuration.connection_timeout)
    is_over = await run_in_child(attempt_and_tell, configuration, policy, progress)
    return progress.outcome(Code.DRIVER_CRASHED if is_over else Code.DEADLINE)


class Progress:
    """What is known of an attempt so far."""

    is_over = False

    def __init__(self, seconds: float) -> None:
        self.seconds = self.seconds_max = seconds
        self._outcome: Outcome | None = None
        self._passed: list[Stage] = []
        self._running: tuple[StageName, float] | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Take note of a message. Raises KeyError, TypeError or ValueError for nonsense."""
        if "outcome" in message:
            self._outcome = read_outcome(message["outcome"])
            self.is_over = True
        else:
            self._passed = [read_stage(one) for one in message["passed"]]
            self._running = (message["running"], time.monotonic())

    def outcome(self, code: Code) -> Outcome:
        """Give the outcome that was told; if none was, one with this code."""
        if self._outcome is not None:
            return self._outcome
        stages = [*self._passed]
        if self._running is not None:
            name, start = self._running
            stages.append(stage(name, False, time.monotonic() - start))
        return no_outcome(code, stages)


def attempt_and_tell(
    configuration: Configuration, policy: EgressPolicy, tell: Callable[..., None]
) -> None:
    """Be the child of a test."""

    def tell_stage(stages: Stages, name: StageName) -> None:
        tell(running=name, passed=[stage for stage in stages.shown() if stage["ok"]])

    tell(outcome=attempt(configuration, policy, Stages(tell_stage)))
