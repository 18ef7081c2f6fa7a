"""What an attempt to reach a source found out."""

from typing import Any, TypedDict

from datasources.connections.failures import Code
from datasources.connections.ssh.host_keys import is_host_key
from datasources.connections.stages import STAGE_NAMES, Stage, stage


class Outcome(TypedDict):
    """The findings, without any words of a driver."""

    code: str
    stages: list[Stage]
    server_version: str | None
    ssh_host_key: str | None
    """The one that the SSH server showed, if it was refused for it."""


def no_outcome(code: str, stages: list[Stage] | None = None) -> Outcome:
    """Give the outcome of an attempt that came to no end, or did not begin."""
    return {"code": code, "stages": stages or [], "server_version": None, "ssh_host_key": None}


def read_outcome(told: Any) -> Outcome:
    """Give the outcome that a child told; whatever got hold of the child may have told anything.

    Raises KeyError, TypeError or ValueError if it is none.
    """
    key = told["ssh_host_key"]
    if key is not None and not is_host_key(key):
        raise ValueError("This is no host key.")
    return {
        "code": Code(told["code"]).value,
        "stages": [read_stage(one) for one in told["stages"]],
        "server_version": told["server_version"] and str(told["server_version"]),
        "ssh_host_key": key,
    }


def read_stage(told: Any) -> Stage:
    """Give a stage that a child told. Raises KeyError, TypeError or ValueError if it is none."""
    if told["stage"] not in STAGE_NAMES:
        raise ValueError("There is no such stage.")
    return stage(told["stage"], bool(told["ok"]), float(told["milliseconds"]) / 1000)
