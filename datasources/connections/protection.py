"""How well a connection is protected, and the warnings that a result can have."""

from collections.abc import Iterable
from enum import IntEnum

from django.db.models import TextChoices


class TLS(IntEnum):
    """What the settings of a source guarantee, from the weakest to the strongest."""

    OFF = 0
    IF_OFFERED = 1
    """Encrypted if the server offers it; someone on the way can prevent that."""
    REQUIRED = 2
    """Encrypted, for a server that nobody has verified."""
    VERIFIED = 3
    """Encrypted, and the certificate of the server is valid for its host name."""


class WarningCode(TextChoices):
    """What a connection does not protect, or what is a guess about a file.

    The label says what it means and what to do about it.
    """

    PASSWORD_IN_CLEAR = (
        "PASSWORD_IN_CLEAR",
        "The password is sent without TLS: everyone on the way to the server can read it. Use TLS, "
        "then change the password.",
    )
    NOT_ENCRYPTED = (
        "NOT_ENCRYPTED",
        "The connection is not encrypted: everyone on the way to the server can read and change "
        "the data. Turn on TLS in the server, and require it in connection_string.",
    )
    SERVER_NOT_VERIFIED = (
        "SERVER_NOT_VERIFIED",
        "Nothing has verified that this is the right server: another one could take its place. "
        "Ask for verification in connection_string, if the type can do it, such as with "
        "sslmode=verify-full.",
    )
    ENCODING_GUESSED = (
        "ENCODING_GUESSED",
        "The file is not in UTF-8, and says nothing about its encoding. It was read as "
        "Windows-1252 (Latin-1). If names look wrong, store it in UTF-8.",
    )
    COLUMNS_GUESSED = (
        "COLUMNS_GUESSED",
        "The columns of the file can be understood in several ways: a title is above the header, "
        "the delimiter is unusual or one of several, or JSON values are not objects. Check the "
        "columns; a plain table, or an array of objects, leaves nothing to guess.",
    )
    COLUMNS_RENAMED = (
        "COLUMNS_RENAMED",
        "The file has columns without a name, or with names that differ in nothing but case. They "
        "were given other names. Give each column a name of its own.",
    )
    TYPES_SAMPLED = (
        "TYPES_SAMPLED",
        "The file is large, so its columns and their types are those of its first rows. If later "
        "rows have other values, reading them fails. A Parquet file states its types.",
    )


def explain_warnings(codes: Iterable[str]) -> list[dict[str, str]]:
    """Return warnings as the API shows them, each with its code and its message."""
    return [{"code": code, "message": WarningCode(code).label} for code in codes]
