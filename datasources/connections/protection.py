"""How well a connection is protected: TLS as the settings ask for it, and what is left open."""

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
    """What a connection does not protect; the label says what it means and what to do about it."""

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
