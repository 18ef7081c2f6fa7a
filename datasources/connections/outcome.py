"""The outcome of an attempt to reach a source."""

from collections.abc import Callable
from typing import Any, TypedDict, cast

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.connections.failures import Code, Details
from datasources.connections.files.formats import Format
from datasources.connections.protection import WarningCode
from datasources.connections.ssh.host_keys import is_host_key
from datasources.connections.stages import STAGE_NAMES, Stage, stage

FIELDS = (*Configuration.field_names(), "connection_string", *CREDENTIAL_FIELDS)
LINE_MAX = 2**53 - 1  # JavaScript reads larger numbers inexactly


class Outcome(TypedDict):
    """The outcome of an attempt; it never quotes a driver."""

    code: str
    details: Details
    stages: list[Stage]
    server_version: str | None
    ssh_host_key: str | None
    """The host key that was refused, if that is why the attempt failed."""
    warnings: list[str]
    """The codes of what the connection did not protect, or guessed (`WarningCode`)."""


def no_outcome(code: str, stages: list[Stage] | None = None) -> Outcome:
    """Return an outcome that has a code but no findings: the attempt did not begin or end."""
    return {
        "code": code,
        "details": {},
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
        "details": read_details(given["details"]),
        "stages": [read_stage(stage) for stage in given["stages"]],
        "server_version": given["server_version"] and str(given["server_version"]),
        "ssh_host_key": key,
        "warnings": read_warnings(given["warnings"]),
    }


def read_warnings(given: Any) -> list[str]:
    """Return the known ones of the warnings that a child process sent. Raises TypeError."""
    return [code.value for code in WarningCode if code in given]


def read_details(given: Any) -> Details:
    """Return the details that a child process sent, checked.

    Raises KeyError, TypeError or ValueError if they are malformed.
    """
    if type(given) is not dict:
        raise TypeError("Not an object.")
    return cast(Details, {name: DETAILS[name](value) for name, value in given.items()})


def read_fields(given: Any) -> list[str]:
    """Return the names of fields. Raises TypeError or ValueError unless all are known."""
    if type(given) is not list or not 0 < len(given) <= len(FIELDS):
        raise TypeError("Not a list of fields.")
    return [FIELDS[FIELDS.index(name)] for name in given]


def read_line(given: Any) -> int:
    """Return the number of a line, checked. Raises ValueError."""
    if type(given) is not int or not 0 < given <= LINE_MAX:
        raise ValueError("Not the number of a line.")
    return given


def read_format(given: Any) -> str:
    """Return the format of a file, checked. Raises ValueError."""
    return Format(given).value


DETAILS: dict[str, Callable[[Any], Any]] = {
    "fields": read_fields,
    "line": read_line,
    "found": read_format,
}
"""The members of `Details`, each with the function that checks it."""


def read_stage(given: Any) -> Stage:
    """Return the stage that a child process sent, checked.

    Raises KeyError, TypeError or ValueError if it is malformed.
    """
    if given["stage"] not in STAGE_NAMES:
        raise ValueError("Not a stage.")
    return stage(given["stage"], bool(given["ok"]), float(given["milliseconds"]) / 1000)
