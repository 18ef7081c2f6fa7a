"""The checks of `manage.py doctor`, a module for each subject."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How a check ended, as `doctor` prints it."""

    OK = "ok"
    WARNING = "warn"
    """Something is open that could be closed; it may be on purpose. The exit status stays 0."""
    FAILED = "fail"


class Finding(NamedTuple):
    """The result of one check: its name, how it ended, and what is there or how to fix it."""

    name: str
    state: State
    text: str
