"""Why a source cannot be reached: stable codes, and a sentence for each that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import TextChoices

from rivergen.egress.exceptions import EgressDenied, HostNotFound


class Code(TextChoices):
    """The outcome of a connection test; the label says what it means and what to do about it.

    The sentences are our own: drivers repeat passwords, addresses and whole connection strings in
    theirs.
    """

    OK = "OK", "The connection works."
    EGRESS_DENIED = (
        "EGRESS_DENIED",
        "This address may not be connected to from here. Check the host, or ask whoever runs this "
        "service to allow it.",
    )
    DNS_FAILED = "DNS_FAILED", "The host name cannot be resolved. Check its spelling."
    TCP_REFUSED = (
        "TCP_REFUSED",
        "Nothing accepts connections at this host and port. Check both, and that the server runs.",
    )
    TCP_TIMEOUT = (
        "TCP_TIMEOUT",
        "The host does not answer. Check host and port, and that no firewall is between.",
    )
    SSH_HOST_KEY_UNCONFIRMED = (
        "SSH_HOST_KEY_UNCONFIRMED",
        "The SSH server showed a host key that nobody has confirmed yet; nothing was sent to it. "
        "Compare the fingerprint, and let an admin confirm it.",
    )
    SSH_HOST_KEY_CHANGED = (
        "SSH_HOST_KEY_CHANGED",
        "The SSH server showed another host key than the confirmed one; nothing was sent to it. "
        "Find out why before an admin confirms the new key.",
    )
    SSH_AUTH_FAILED = (
        "SSH_AUTH_FAILED",
        "The SSH server refuses the login. Check ssh_username and the SSH credentials.",
    )
    SSH_FAILED = (
        "SSH_FAILED",
        "What answers at ssh_host and ssh_port is no SSH server that can be used. Check both, and "
        "that it lets ssh_username forward connections to host and port.",
    )
    SSH_LOCAL_PORT_TAKEN = (
        "SSH_LOCAL_PORT_TAKEN",
        "This ssh_local_port is not free where the connection is made from. Choose another, or "
        "none: then any free one is taken.",
    )
    TLS_FAILED = (
        "TLS_FAILED",
        "No encrypted connection could be agreed on. Check the server's certificate and the TLS "
        "options.",
    )
    PROTOCOL_FAILED = (
        "PROTOCOL_FAILED",
        "What answers at this host and port is no server of this type, or it hung up. Check both, "
        "and the type.",
    )
    SERVER_BUSY = (
        "SERVER_BUSY",
        "The server takes no connection now: it has too many, is starting or is shutting down. Try "
        "again later.",
    )
    OPTION_INVALID = (
        "OPTION_INVALID",
        "An option of connection_string has a value that the driver does not take. Correct it, or "
        "leave it out.",
    )
    LOGIN_FAILED = (
        "LOGIN_FAILED",
        "The server refuses the login. Check the username, the credentials and what the server "
        "allows.",
    )
    DATABASE_MISSING = (
        "DATABASE_MISSING",
        "The login works, but there is no such database. Check database_name.",
    )
    FILE_MISSING = "FILE_MISSING", "There is no such file in the storage. Check file_path."
    STORAGE_FAILED = (
        "STORAGE_FAILED",
        "The storage cannot be read. Ask whoever runs this service to look into it.",
    )
    QUERY_FAILED = (
        "QUERY_FAILED",
        "The source was reached, but a trivial query fails. Check that it is healthy and of this "
        "type.",
    )
    SCHEMA_MISSING = "SCHEMA_MISSING", "There is no such schema. Check schema_name."
    SCHEMA_UNREADABLE = (
        "SCHEMA_UNREADABLE",
        "The source was reached, but its tables and columns cannot be read. Check what the user "
        "may see, and that query_timeout is long enough.",
    )
    SCHEMA_TOO_LARGE = (
        "SCHEMA_TOO_LARGE",
        "There are more tables or columns than can be kept, or larger ones. Name one schema in "
        "schema_name.",
    )
    SCHEMA_DEADLINE = (
        "SCHEMA_DEADLINE",
        "Reading the tables and columns took longer than is allowed. Name one schema in "
        "schema_name.",
    )
    SOURCE_CHANGED = (
        "SOURCE_CHANGED",
        "The data source was changed while its schema was read; what was read is dropped. Refresh "
        "it again.",
    )
    DRIVER_MISSING = (
        "DRIVER_MISSING",
        "The driver for this type is not installed, or cannot be used safely on this machine. Ask "
        "whoever runs this service to look into it.",
    )
    FIELDS_MISSING = (
        "FIELDS_MISSING",
        "A field that a connection needs is not set; GET /api/v1/data-source-types names them.",
    )
    CREDENTIALS_UNSET = (
        "CREDENTIALS_UNSET",
        "The server wants credentials, and none are stored. Enter them.",
    )
    CREDENTIALS_UNCONFIRMED = (
        "CREDENTIALS_UNCONFIRMED",
        "The destination was moved, and its secrets wait. Enter them again, or let an admin "
        "confirm them.",
    )
    DRIVER_CRASHED = (
        "DRIVER_CRASHED",
        "The driver crashed. Ask whoever runs this service to look into it.",
    )
    CREDENTIALS_UNREADABLE = (
        "CREDENTIALS_UNREADABLE",
        "The secrets cannot be decrypted any more. Enter them again.",
    )
    DEADLINE = (
        "DEADLINE",
        "It took longer than connection_timeout allows. Check the server, or allow more seconds.",
    )


class ConnectionFailure(Exception):
    """A source cannot be reached; `code` says why. No driver's words are in it."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.label)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code,)


class SSHHostKeyRefused(ConnectionFailure):
    """An SSH server showed a host key that is not the confirmed one.

    `presented` is that key, such as `ssh-ed25519 AAAA…`.
    """

    def __init__(self, code: Code, presented: str) -> None:
        super().__init__(code)
        self.presented = presented

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.presented)


@contextmanager
def egress_errors_as_failures() -> Iterator[None]:
    """Raise ConnectionFailure for what the egress policy raises in the block."""
    try:
        yield
    except EgressDenied:
        raise ConnectionFailure(Code.EGRESS_DENIED) from None
    except HostNotFound:
        raise ConnectionFailure(Code.DNS_FAILED) from None
