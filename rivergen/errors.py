"""Errors of the domain: what models raise when a rule forbids what was asked.

They know no HTTP. `rivergen.http.responses` maps each kind to a status; the admin pages and the
commands show the sentence.
"""

from typing import ClassVar


class DomainError(Exception):
    """A rule of the domain forbids this; `str()` is a sentence for a person."""

    code: ClassVar[str]
    """The `code` of the failure, from the contract's table (section 1)."""
    message: ClassVar[str] = ""
    """The sentence, where an instance brings none of its own."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class Gone(DomainError):
    """The row does not exist, or was removed by another request (404)."""

    code = "NOT_FOUND"
    message = "It was removed by another request."


class StateConflict(DomainError):
    """The state of the row forbids this (409); subclasses have codes of their own."""

    code = "CONFLICT"
    message = "The state of the resource forbids this."
