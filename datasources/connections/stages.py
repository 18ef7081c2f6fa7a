"""The stages of an attempt to reach a source: their order, success and duration."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypedDict, get_args

StageName = Literal["policy", "dns", "tcp", "ssh", "tls", "login", "query"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


class Stage(TypedDict):
    """One stage, as the API returns it."""

    stage: StageName
    ok: bool
    milliseconds: float


class Stages:
    """Times the stages of one attempt, and calls `on_start` when a stage begins.

    Stages may be nested: drivers do `tls` inside `login`. The time of an inner stage does not count
    for the outer one. The times of a stage that is entered again add up.
    """

    def __init__(self, on_start: Callable[["Stages", StageName], None] | None = None) -> None:
        self._on_start = on_start
        self._seconds = dict.fromkeys(STAGE_NAMES, 0.0)
        self._ok: dict[StageName, bool] = {}
        self._inner_seconds = 0.0

    @contextmanager
    def __call__(self, name: StageName) -> Iterator[None]:
        """Time a stage around a block. The stage fails if the block raises."""
        if self._on_start is not None:
            self._on_start(self, name)
        outer_seconds, self._inner_seconds = self._inner_seconds, 0.0
        start = time.monotonic()
        self._ok[name] = False
        try:
            yield
            self._ok[name] = True
        finally:
            seconds = time.monotonic() - start
            self._seconds[name] += seconds - self._inner_seconds
            self._inner_seconds = outer_seconds + seconds

    def drop(self, name: StageName) -> None:
        """Remove a stage that was entered but did not take place."""
        self._ok.pop(name, None)

    def to_list(self) -> list[Stage]:
        """Return the stages in order, up to and including the first that failed."""
        stages: list[Stage] = []
        for name in STAGE_NAMES:
            if name in self._ok:
                stages.append(stage(name, self._ok[name], self._seconds[name]))
                if not self._ok[name]:
                    break
        return stages


def stage(name: StageName, ok: bool, seconds: float) -> Stage:
    """Return a stage, as the API returns it."""
    return {"stage": name, "ok": ok, "milliseconds": round(seconds * 1000, 1)}
