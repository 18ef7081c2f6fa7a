"""Why a source cannot be reached: stable codes, each with a sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypedDict, Unpack

from django.db.models import TextChoices

from datasources.connections.files.formats import Format
from rivergen.egress.exceptions import EgressDenied, HostNotFound


class Code(TextChoices):
    """The outcome of a connection test; its label says what it means and what to do about it.

    The labels never quote a driver: drivers repeat passwords, addresses and connection strings.
    """

    OK = "OK", "The connection works."
    EGRESS_DENIED = (
        "EGRESS_DENIED",
        "The egress policy does not allow this address. Check the host, or ask the operator of "
        "this service to allow it.",
    )
    DNS_FAILED = "DNS_FAILED", "The host name cannot be resolved. Check its spelling."
    TCP_REFUSED = (
        "TCP_REFUSED",
        "Nothing accepts connections at this host and port. Check both, and that the server runs.",
    )
    TCP_TIMEOUT = (
        "TCP_TIMEOUT",
        "The host does not answer. Check host and port, and that no firewall blocks them.",
    )
    SSH_HOST_KEY_UNCONFIRMED = (
        "SSH_HOST_KEY_UNCONFIRMED",
        "The host key of the SSH server is not confirmed; nothing was sent to the server. Compare "
        "the fingerprint with the server's, then let an admin confirm it.",
    )
    SSH_HOST_KEY_CHANGED = (
        "SSH_HOST_KEY_CHANGED",
        "The SSH server has another host key than the confirmed one; nothing was sent to it. Find "
        "out why before an admin confirms the new key.",
    )
    SSH_KEY_UNREADABLE = (
        "SSH_KEY_UNREADABLE",
        "The stored ssh_private_key cannot be read, so nothing was sent to the SSH server: it is "
        "damaged, not supported, or its passphrase is missing or wrong. Enter the private key "
        "again, with ssh_private_key_passphrase if it is encrypted.",
    )
    SSH_AUTH_FAILED = (
        "SSH_AUTH_FAILED",
        "The SSH server refuses the login. Check ssh_username and the SSH credentials.",
    )
    SSH_FAILED = (
        "SSH_FAILED",
        "The server at ssh_host and ssh_port is not a usable SSH server. Check both, and that it "
        "lets ssh_username forward connections to host and port.",
    )
    SSH_LOCAL_PORT_TAKEN = (
        "SSH_LOCAL_PORT_TAKEN",
        "The port in ssh_local_port is in use on the machine that connects. Choose another port, "
        "or clear the field to use any free port.",
    )
    TLS_FAILED = (
        "TLS_FAILED",
        "The TLS handshake failed. Check the server's certificate and the TLS options.",
    )
    CLEAR_PASSWORD_REFUSED = (
        "CLEAR_PASSWORD_REFUSED",
        "The server asks for the password in clear, and the connection has no TLS, so the password "
        "was not sent. Turn on TLS in the server, and require it in connection_string, for example "
        "with sslmode=require.",
    )
    PROTOCOL_FAILED = (
        "PROTOCOL_FAILED",
        "The server at this host and port is not of this type, or it closed the connection. Check "
        "host, port and type.",
    )
    SERVER_BUSY = (
        "SERVER_BUSY",
        "The server accepts no connections at the moment: it has too many, or it is starting or "
        "shutting down. Try again later.",
    )
    OPTION_INVALID = (
        "OPTION_INVALID",
        "The driver does not accept the value of an option in connection_string. Correct or "
        "remove the option.",
    )
    LOGIN_FAILED = (
        "LOGIN_FAILED",
        "The server refuses the login. Check the username and the credentials, and that the "
        "server lets this user log in.",
    )
    ACCOUNT_LOCKED = (
        "ACCOUNT_LOCKED",
        "The server knows the user, but the account is locked or disabled, or its password has "
        "expired. Unlock it or set a new password on the server, then enter that.",
    )
    ADDRESS_REFUSED = (
        "ADDRESS_REFUSED",
        "The access rules of the server do not let this connection in: by the address that it "
        "comes from, the user, the database, or because it has no TLS. Let its administrator allow "
        "it, for example in pg_hba.conf or in the firewall of the server.",
    )
    DATABASE_MISSING = (
        "DATABASE_MISSING",
        "The login works, but the database does not exist, or is hidden from the user. Check "
        "database_name.",
    )
    DATABASE_FORBIDDEN = (
        "DATABASE_FORBIDDEN",
        "The login works, but the user may not use the database. Let its owner grant that, for "
        "example GRANT CONNECT ON DATABASE in PostgreSQL, or check database_name.",
    )
    DATABASE_CLOSED = (
        "DATABASE_CLOSED",
        "The login works, but the database takes no connections, such as a template or one that is "
        "offline. Check database_name, or let an administrator of the server open the database.",
    )
    FILE_MISSING = "FILE_MISSING", "The file does not exist in the storage. Check file_path."
    FILE_EMPTY = (
        "FILE_EMPTY",
        "The file has no content: perhaps the upload failed. Store it again.",
    )
    FILE_TRUNCATED = (
        "FILE_TRUNCATED",
        "The file ends too early: a part at its end is missing, perhaps because the upload was "
        "interrupted. Store it again.",
    )
    FILE_MALFORMED = (
        "FILE_MALFORMED",
        "The file breaks the rules of its type. In a CSV file each line needs as many values as "
        "the header, and quotes around values that contain a delimiter, a quote or a line end. "
        "Correct the file, or export it again.",
    )
    FILE_ENCODING = (
        "FILE_ENCODING",
        "The text of the file is in an encoding that is unknown, or damaged. Store it in UTF-8.",
    )
    FILE_OTHER_TYPE = (
        "FILE_OTHER_TYPE",
        "The file is not of the type of this data source. Choose the type that it is of, or store "
        "a file of this type.",
    )
    FILE_COMPRESSION = (
        "FILE_COMPRESSION",
        "The file is compressed in a way that cannot be read. CSV and JSON files may be compressed "
        "with gzip, Zstandard, bzip2 or xz, or be the only file in a ZIP archive. Store other "
        "files as they are.",
    )
    FILE_ENCRYPTED = (
        "FILE_ENCRYPTED",
        "The file is encrypted. Store it without encryption of its own.",
    )
    FILE_TOO_LARGE = (
        "FILE_TOO_LARGE",
        "The file is too large to be read, or expands to too much. Split it into several files.",
    )
    STORAGE_FAILED = (
        "STORAGE_FAILED",
        "The storage cannot be read. Ask the operator of this service to check it.",
    )
    QUERY_FAILED = (
        "QUERY_FAILED",
        "The source was reached, but answers with an error. Check that the source is healthy and "
        "of this type.",
    )
    PERMISSION_DENIED = (
        "PERMISSION_DENIED",
        "The login works, but the user may not read what is needed. Grant the user the right to "
        "read the tables and columns, or the catalogue, of the source.",
    )
    QUERY_TIMEOUT = (
        "QUERY_TIMEOUT",
        "A statement took longer than query_timeout. Check that the server is not overloaded, "
        "raise query_timeout, or name one schema in schema_name.",
    )
    CONNECTION_LOST = (
        "CONNECTION_LOST",
        "The connection was lost after the login. Check that the server runs and that nothing "
        "ends its sessions, then try again.",
    )
    SCHEMA_MISSING = "SCHEMA_MISSING", "The schema does not exist. Check schema_name."
    SCHEMA_UNREADABLE = (
        "SCHEMA_UNREADABLE",
        "The source was reached, but its tables and columns cannot be read. Check that the source "
        "is healthy, and the user's rights.",
    )
    SCHEMA_TOO_LARGE = (
        "SCHEMA_TOO_LARGE",
        "The schema has more tables or columns, or larger ones, than can be stored. Name one "
        "schema in schema_name.",
    )
    SCHEMA_QUOTA_EXCEEDED = (
        "SCHEMA_QUOTA_EXCEEDED",
        "The organization has as many bytes of schemas as it may have. Delete data sources, name "
        "one schema in schema_name, or ask an operator for a higher quota.",
    )
    SCHEMA_DEADLINE = (
        "SCHEMA_DEADLINE",
        "Reading the tables and columns took longer than allowed. Name one schema in schema_name.",
    )
    SOURCE_CHANGED = (
        "SOURCE_CHANGED",
        "The data source changed while its schema was read, so the result was dropped. Refresh "
        "the schema again.",
    )
    DRIVER_MISSING = (
        "DRIVER_MISSING",
        "The driver for this type is not installed, or cannot be used safely on this machine. Ask "
        "the operator of this service to check it.",
    )
    FIELDS_MISSING = (
        "FIELDS_MISSING",
        "Fields that this type needs to connect are not set. Set them.",
    )
    CREDENTIALS_UNSET = (
        "CREDENTIALS_UNSET",
        "Credentials that the server or the driver asks for are not stored. Enter them.",
    )
    CREDENTIALS_UNCONFIRMED = (
        "CREDENTIALS_UNCONFIRMED",
        "The destination has changed since the secrets were entered. Enter them again, or let an "
        "admin confirm them.",
    )
    DRIVER_CRASHED = (
        "DRIVER_CRASHED",
        "The driver crashed. Ask the operator of this service to investigate.",
    )
    CREDENTIALS_UNREADABLE = (
        "CREDENTIALS_UNREADABLE",
        "The secrets cannot be decrypted. Enter them again.",
    )
    DEADLINE = (
        "DEADLINE",
        "The attempt took longer than connection_timeout. Check the server, or raise "
        "connection_timeout.",
    )


class Details(TypedDict, total=False):
    """What a failure is about, beside its code: members that are harmless to show and to store.

    They never quote a driver. `datasources.connections.outcome` checks each one.
    """

    fields: list[str]
    """The fields and credentials of the data source that are not set."""
    line: int
    """The line of the file, from 1."""
    found: str
    """What the file seems to be: a `Format`."""


def message_of(code: str, details: Details) -> str:
    """Return the sentences for an outcome: what its code means, and what exactly it is about."""
    sentences = [str(Code(code).label)]
    if "fields" in details:
        sentences.append(f"Not set: {', '.join(details['fields'])}.")
    if "line" in details:
        sentences.append(f"Line: {details['line']}.")
    if "found" in details:
        sentences.append(f"It seems to be {Format(details['found']).label}.")
    return " ".join(sentences)


class ConnectionFailure(Exception):
    """A source cannot be reached; `code` says why. The message never quotes a driver."""

    def __init__(self, code: Code, **details: Unpack[Details]) -> None:
        super().__init__(message_of(code, details))
        self.code = code
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self.details), (self.code,)


class SSHHostKeyRefused(ConnectionFailure):
    """The SSH server presented another host key than the confirmed one.

    `presented` is the key in one-line form, such as `ssh-ed25519 AAAA…`.
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
