"""The outcome of an attempt to reach a source."""

from typing import Any, TypedDict

from datasources.connections.failures import Code
from datasources.connections.protection import WarningCode
from datasources.connections.ssh.host_keys import is_host_key
from datasources.connections.stages import STAGE_NAMES, Stage, stage


class Outcome(TypedDict):
    """The outcome of an attempt; it never quotes a driver."""

    code: str
    stages: list[Stage]
    server_version: str | None
    ssh_host_key: str | None
    """The host key that was refused, if that is why the attempt failed."""
    warnings: list[str]
    """The codes of what the connection did not protect (`WarningCode`)."""


def no_outcome(code: str, stages: list[Stage] | None = None) -> Outcome:
    """Return an outcome that has a code but no findings: the attempt did not begin or end."""
    return {
        "code": code,
        "stages": stages or [],
        "server_version": None,
        "ssh_host_key": None,
        "warnings": [],
    }


def read_outcome(given: Any) -> Outcome:
    """Return the outcome that a child process sent, checked: a compromised child may send anything.

    Raises KeyError, TypeError or ValueError if it is malformed.
    """
    key = given["ssh_host_key"]
    if key is not None and not is_host_key(key):
        raise ValueError("Not a host key.")
    return {
        "code": Code(given["code"]).value,
        "stages": [read_stage(stage) for stage in given["stages"]],
        "server_version": given["server_version"] and str(given["server_version"]),
        "ssh_host_key": key,
        "warnings": [code.value for code in WarningCode if code in given["warnings"]],
    }


def read_stage(given: Any) -> Stage:
    """Return the stage that a child process sent, checked.

    Raises KeyError, TypeError or ValueError if it is malformed.
    """
    if given["stage"] not in STAGE_NAMES:
        raise ValueError("Not a stage.")
    return stage(given["stage"], bool(given["ok"]), float(given["milliseconds"]) / 1000)
