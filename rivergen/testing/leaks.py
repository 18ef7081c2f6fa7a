"""Look for secrets where none may be: in answers, in logs and in the database."""

import base64
import logging
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from django.db import connection
from psycopg.conninfo import make_conninfo

from rivergen.observability.logs import JSONFormatter
from rivergen.testing.replication import BINARIES

# Those with a level of their own, and those that keep their records from the root.
LOGGERS = ("", "django", "django.security.DisallowedHost", "rivergen")
FORMAT = "%(name)s %(message)s %(args)s"


class Canary(str):
    """A secret that sings wherever it turns up: none of its characters may get lost in escaping.

    It is recognized by its core, which no escaping changes, and by that as a whole.
    """

    core: str

    def __new__(cls, start: str = "p/ä ", end: str = '+&=%"x') -> "Canary":
        core = secrets.token_hex(16)
        canary = super().__new__(cls, f"{start}{core}{end}")
        canary.core = core
        return canary

    def spellings(self) -> Iterator[tuple[str, str]]:
        """Give the ways in which the core may turn up, in lower case but for base64."""
        core = self.core.encode()
        yield "raw or URL-encoded", self.core
        yield "URL-encoded to the last letter", "".join(f"%{byte:02x}" for byte in core)
        yield "hex", core.hex()
        # Base64 has three bytes in four characters: what it looks like depends on where it starts.
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            whole_groups = (before + len(core)) // 3 * 4
            encoded = base64.b64encode(b"\0" * before + core).decode()
            yield "base64", encoded[cut:whole_groups]

    def leaks_into(self, text: str) -> list[str]:
        """Say in which spellings it is in the text."""
        lower = text.lower()
        return [
            name
            for name, spelling in self.spellings()
            if spelling in (text if name == "base64" else lower)
        ]


@contextmanager
def everything_logged() -> Iterator[StringIO]:
    """Collect all log records at DEBUG, SQL and tracebacks included, as text and as JSON."""
    log = StringIO()
    handlers = [logging.StreamHandler(log), logging.StreamHandler(log)]
    handlers[0].setFormatter(logging.Formatter(FORMAT))
    handlers[1].setFormatter(JSONFormatter())
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
        for handler in handlers:
            logging.getLogger(name).addHandler(handler)
    connection.force_debug_cursor = True
    try:
        yield log
    finally:
        connection.force_debug_cursor = False
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
            for handler in handlers:
                logging.getLogger(name).removeHandler(handler)


def pg_dump() -> str:
    """Give the whole database as `pg_dump` writes it."""
    names = ("dbname", "user", "password", "host", "port")
    parameters = connection.get_connection_params()
    conninfo = make_conninfo(**{name: parameters[name] for name in names if name in parameters})
    command = BINARIES / "pg_dump"
    dump = subprocess.run([command, "--dbname", conninfo], capture_output=True, check=True)
    return dump.stdout.decode()
