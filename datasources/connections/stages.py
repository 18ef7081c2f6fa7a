"""The stages of reaching a source: which were passed, which one failed, and how long each took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypedDict, get_args

StageName = Literal["policy", "dns", "tcp", "ssh", "tls", "login", "query"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


class Stage(TypedDict):
    """One stage, as the API shows it."""

    stage: StageName
    ok: bool
    milliseconds: float


class Stages:
    """Collects the stages; `on_start` is told of each when it begins.

    One that is entered inside another (`tls` inside `login`, as drivers do it) takes its time out
    of the outer one's; one that is entered again goes on.
    """

    def __init__(self, on_start: Callable[["Stages", StageName], None] | None = None) -> None:
        self._on_start = on_start
        self._seconds = dict.fromkeys(STAGE_NAMES, 0.0)
        self._ok: dict[StageName, bool] = {}
        self._inner_seconds = 0.0

    @contextmanager
    def __call__(self, name: StageName) -> Iterator[None]:
        """Time a stage; it failed if the block raises."""
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

    def forget(self, name: StageName) -> None:
        """Leave a stage out: it turned out that there was none."""
        self._ok.pop(name, None)

    def shown(self) -> list[Stage]:
        """Give the stages in their order, up to the first that failed."""
        stages: list[Stage] = []
        for name in STAGE_NAMES:
            if name in self._ok:
                stages.append(stage(name, self._ok[name], self._seconds[name]))
                if not self._ok[name]:
                    break
        return stages


def stage(name: StageName, ok: bool, seconds: float) -> Stage:
    """Give a stage as the API shows it."""
    return {"stage": name, "ok": ok, "milliseconds": round(seconds * 1000, 1)}
