"""The transaction that reads a PostgreSQL catalogue, whatever its session inherits.

A role, a database or the server may set other defaults, which change how the server spells types,
expressions and constants, or end the session early.
"""

from typing import Any

from psycopg import Connection, errors
from psycopg.adapt import Buffer, Loader

# Locally: a pooler may give the server's session to another client after the transaction.
SETTINGS = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # Slower than what it saves, as the estimates for catalogues are too high.
    "jit": "off",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
# Encodings of databases that the server converts to UTF-8: it is that, or Python has no codec.
CONVERTED = ("UTF8", "EUC_TW", "MULE_INTERNAL", None)
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The search path comes first: the next statement could otherwise find functions and operators of
# others. Then all settings that the server has. One message: a role may end idle transactions.
SETTING = f"""
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT set_config(s.name, v.value, true) FROM pg_settings s
JOIN (VALUES {", ".join(map(str, SETTINGS.items()))}) AS v (name, value)
ON lower(s.name) = lower(v.name)
"""


def begin(connection: "Connection[Any]") -> None:
    """Begin a read-only transaction with one snapshot, in which names and constants are plain."""
    connection.autocommit = True  # the transaction is not begun by psycopg
    try:
        connection.execute(f"{BEGIN}; {SETTING}")
    except (errors.ProgrammingError, errors.NotSupportedError):
        # A server with less than PostgreSQL reads with what it inherits.
        connection.rollback()
        connection.execute(BEGIN)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in CONVERTED:
        # As UTF-8, the server would refuse a statement for one character that it cannot convert.
        connection.execute("SELECT set_config('client_encoding', %s, true)", [encoding])
        # In SQL_ASCII is what clients have sent, mostly UTF-8.
        codec = "utf-8" if encoding == "SQL_ASCII" else connection.info.encoding
        readable = readable_text(codec)
        for type_name in ("name", "text", '"char"'):
            connection.adapters.register_loader(type_name, readable)


def readable_text(codec: str) -> type[Loader]:
    """Return a loader of text that shows U+FFFD for what the codec cannot decode.

    Of texts that would look the same, all but the first show those bytes as `\\xe9`.
    """
    bytes_of: dict[str, bytes] = {}

    class ReadableText(Loader):
        def load(self, data: Buffer) -> str:
            text = bytes(data)
            try:
                return text.decode(codec)
            except UnicodeDecodeError:
                shown = text.decode(codec, errors="replace")
            is_first = bytes_of.setdefault(shown, text) == text
            return shown if is_first else text.decode(codec, errors="backslashreplace")

    return ReadableText
