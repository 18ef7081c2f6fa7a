"""Domain errors: models raise them if a rule does not allow an operation.

They do not depend on HTTP. `rivergen.http.responses` maps each kind to a status; the admin and the
commands show the message.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class DomainError(Exception):
    """A rule of the domain does not allow the operation; `str()` is a message for a person."""

    code: ClassVar[str]
    """The `code` of the failure in the API (contract, section 1)."""
    message: ClassVar[str] = ""
    """The default message."""

    details: Mapping[str, list[str]] = MappingProxyType({})
    """Sentences by field, as in the API."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class Gone(DomainError):
    """The row does not exist, or was removed by another request (404)."""

    code = "NOT_FOUND"
    message = "The resource was removed by another request."


class StateConflict(DomainError):
    """The state of the row does not allow the operation (409); subclasses may have own codes."""

    code = "CONFLICT"
    message = "The state of the resource does not allow this."
