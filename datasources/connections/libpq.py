"""What psycopg does not offer of libpq: why a server refused a login, by its SQLSTATE."""

import ctypes
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from datasources.connections.failures import Code

PQERRORS_VERBOSE = 2
# In libpq's text: two spaces after the severity, then the SQLSTATE that `show_sqlstates` adds.
SQLSTATE = re.compile(r":  ([0-9A-Z]{5}): ")
LOGIN_REFUSED = "28000"
# The function of the server that reads pg_hba.conf; another one looks for the role.
ACCESS_RULES = re.compile(r"^LOCATION:  ClientAuthentication,", re.MULTILINE)
FORBIDDEN = "42501"
# The file of the server that takes the settings in the option `options`.
SETTINGS = re.compile(r"^LOCATION:  \w+, guc\.c:", re.MULTILINE)
CODES = {
    "08": Code.LOGIN_FAILED,  # 08004: rejected; poolers send 08P01 for all that they refuse
    "0A": Code.PROTOCOL_FAILED,  # a version or a feature of the protocol
    "22023": Code.OPTION_INVALID,
    "28": Code.LOGIN_FAILED,
    "3D000": Code.DATABASE_MISSING,
    "3F000": Code.SCHEMA_MISSING,
    FORBIDDEN: Code.DATABASE_FORBIDDEN,
    "42601": Code.OPTION_INVALID,  # an argument in `options` without a value, or unknown
    "42704": Code.OPTION_INVALID,  # unknown parameter
    "53": Code.SERVER_BUSY,  # too many connections, out of memory or disk
    "55000": Code.DATABASE_CLOSED,
    "55P02": Code.OPTION_INVALID,  # a parameter that only a restart changes
    "57": Code.SERVER_BUSY,  # starting, shutting down
    "57014": Code.DEADLINE,
    "57P04": Code.DATABASE_MISSING,  # dropped meanwhile
    "P0001": Code.LOGIN_FAILED,  # raised by a trigger on logins
    "XX000": Code.LOGIN_FAILED,  # poolers: unknown tenant
}
"""The codes by SQLSTATE, or by its class, the first two characters."""

# Poolers have one SQLSTATE for all that they refuse, and speak English only.
POOLER_SQLSTATES = ("08P01", "XX000")
MISSING = r'database ".*" does not exist|no such database'
BUSY = (
    r"too many (clients|connections)|remaining connection slots|no more connections allowed"
    r"|connection limit |max client|query_wait_timeout|server login has been failing"
    r"|the database system is |administrator command"
)
POOLER_MEANINGS = {
    MISSING: Code.DATABASE_MISSING,
    rf"(?i){BUSY}": Code.SERVER_BUSY,
    "unsupported startup parameter": Code.OPTION_INVALID,
    "SSL required": Code.TLS_FAILED,
}
# libpq's own messages; and those of a server in English, if libpq does not add the SQLSTATE.
MEANINGS = {
    rf"(\A|:  )({MISSING})": Code.DATABASE_MISSING,
    BUSY: Code.SERVER_BUSY,
    r"server requested a cleartext password": Code.CLEAR_PASSWORD_REFUSED,
    r" failed: [^:\n]+:  |no password supplied|authentication method": Code.LOGIN_FAILED,
    r"Connection refused": Code.TCP_REFUSED,
    # The excluded errors come from servers that do not know TLS.
    r"SSL error: (?!unexpected eof|wrong version)|certificate|SSL was required"
    r"|channel binding required": Code.TLS_FAILED,
    r"\Ainvalid \w+ value|: invalid integer value"
    r"|: session is |: server is (not )?in hot standby": Code.OPTION_INVALID,
}


class LoginError(Exception):
    """A login of libpq failed."""

    def __init__(self, text: str, lacks_password: bool) -> None:
        super().__init__(text)
        self.lacks_password = lacks_password
        """Whether the server asked for a password, and there was none."""


def show_sqlstates(pgconn: Any) -> None:
    """Make libpq write the SQLSTATE into the errors of a connection, where libpq can be found."""
    if set_error_verbosity := _set_error_verbosity():
        set_error_verbosity(pgconn.pgconn_ptr, PQERRORS_VERBOSE)


@cache
def _set_error_verbosity() -> Callable[[Any, int], int] | None:
    """Return PQsetErrorVerbosity of the libpq that psycopg has loaded; None if it is not found."""
    from psycopg.pq import PGconn

    try:
        # Symbols are looked up in the libraries of this one, too: in its libpq.
        library = ctypes.CDLL(sys.modules[PGconn.__module__].__file__)
        function = library.PQsetErrorVerbosity
    except (AttributeError, OSError):  # another build of psycopg
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return function


def explain_login(text: str) -> Code:
    """Return the code for the text of an error of libpq."""
    # libpq may try twice, with and without TLS; the access rules may allow only one of these.
    if sqlstates := SQLSTATE.findall(text):
        told = [sqlstate for sqlstate in sqlstates if sqlstate != LOGIN_REFUSED]
        return explain_sqlstate(told[0] if told else LOGIN_REFUSED, text)
    return meaning(text, MEANINGS) or Code.PROTOCOL_FAILED


def explain_sqlstate(sqlstate: str, text: str) -> Code:
    """Return the code for the SQLSTATE of a server or pooler that refuses a login."""
    if sqlstate in POOLER_SQLSTATES and (code := meaning(text, POOLER_MEANINGS)):
        return code
    if sqlstate == LOGIN_REFUSED and ACCESS_RULES.search(text):
        return Code.ADDRESS_REFUSED
    if sqlstate == FORBIDDEN and SETTINGS.search(text):
        return Code.OPTION_INVALID
    return CODES.get(sqlstate) or CODES.get(sqlstate[:2]) or Code.QUERY_FAILED


def meaning(text: str, meanings: dict[str, Code]) -> Code | None:
    """Return the code of the first pattern that is found in a text; None if there is none."""
    return next((code for pattern, code in meanings.items() if re.search(pattern, text)), None)
