"""Search for leaked secrets in responses, logs and the database."""

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

# Loggers that have their own level, and loggers that do not propagate to the root.
LOGGERS = ("", "django", "django.security.DisallowedHost", "rivergen")
FORMAT = "%(name)s %(message)s %(args)s"


class Canary(str):
    """A secret that can be found wherever it leaks, however it was escaped.

    Its core has only characters that no escaping changes; around them are characters that often
    break parsers.
    """

    core: str

    def __new__(cls, start: str = "p/ä ", end: str = '+&=%"x') -> "Canary":
        core = secrets.token_hex(16)
        return cls.within(f"{start}{core}{end}", core)

    @classmethod
    def within(cls, text: str, core: str) -> "Canary":
        """Return a canary with this text and this core."""
        canary = super().__new__(cls, text)
        canary.core = core
        return canary

    def spellings(self) -> Iterator[tuple[str, str]]:
        """Yield a name and the text of each encoding of the core, in lower case except base64."""
        core = self.core.encode()
        yield "raw or URL-encoded", self.core
        yield "URL-encoded to the last letter", "".join(f"%{byte:02x}" for byte in core)
        yield "hex", core.hex()
        # Base64 encodes three bytes at a time: the text depends on the position of the first byte.
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            whole_groups = (before + len(core)) // 3 * 4
            encoded = base64.b64encode(b"\0" * before + core).decode()
            yield "base64", encoded[cut:whole_groups]

    def leaks_into(self, text: str) -> list[str]:
        """Return the names of the encodings in which a text contains the secret."""
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
    """Return the whole database as `pg_dump` writes it."""
    names = ("dbname", "user", "password", "host", "port")
    parameters = connection.get_connection_params()
    conninfo = make_conninfo(**{name: parameters[name] for name in names if name in parameters})
    command = BINARIES / "pg_dump"
    dump = subprocess.run([command, "--dbname", conninfo], capture_output=True, check=True)
    return dump.stdout.decode()
