"""Microsoft SQL Server."""

import codecs
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, fetch_value, one_line
from datasources.connections.endpoint import host_and_port
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS
from datasources.connections.sandbox.confinement import confined
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    DURATION,
    FALSE,
    IDENTITY,
    TRUE,
    WORDS,
    Options,
    choice,
    flag,
    hint,
    one_of,
    setting,
    text,
)

# Matches errors of the server only: for others, pymssql repeats the number of an earlier login.
SERVER_NUMBER = re.compile(r"""\A\((\d+), b['"](?!DB-Lib)""")
FREETDS_NUMBERS = re.compile(r"DB-Lib error message (\d+)")

CONNECTION_REFUSED = f"({errno.ECONNREFUSED})"  # in the words of the system before it

UNKNOWN_ERROR = ", b'Unknown error')"

ACCOUNT_NUMBERS = (18470, 18486, 18487, 18488)  # disabled, locked, password expired
ADDRESS_NUMBERS = (40532, 40615, 40914, 47073)  # firewall of Azure
BUSY_NUMBERS = (
    *(6005, 17142),  # the server is shutting down or paused
    *(10928, 10929, 17809, 18458, 18459, 18460),  # too many sessions or licences
    *(18451, 18461),  # administrators only
    *(40197, 40501, 40613, 49918, 49919, 49920),  # Azure: temporarily unavailable
)
CLOSED_NUMBERS = (
    *(904, 921, 922, 923, 924, 926, 927, 942),  # offline, being restored, for one user only
    *(976, 978, 983, 988, 42119),  # replica that takes no sessions; paused
)
COMMON_CODES = {
    **dict.fromkeys(ACCOUNT_NUMBERS, Code.ACCOUNT_LOCKED),
    **dict.fromkeys(BUSY_NUMBERS, Code.SERVER_BUSY),
    **dict.fromkeys(CLOSED_NUMBERS, Code.DATABASE_CLOSED),
}
SERVER_CODES = {
    **COMMON_CODES,
    **dict.fromkeys(ADDRESS_NUMBERS, Code.ADDRESS_REFUSED),
    **dict.fromkeys((911, 4060, 4064), Code.DATABASE_MISSING),
    916: Code.DATABASE_FORBIDDEN,
    **dict.fromkeys((18450, 18452, 18456, 40531), Code.LOGIN_FAILED),
}
TIMED_OUT, CONNECTION_LOST = 20003, 20017
STATEMENT_CODES = {
    **COMMON_CODES,
    **dict.fromkeys((229, 230, 262, 297, 300, 371, 916), Code.PERMISSION_DENIED),
    **dict.fromkeys((1222, TIMED_OUT), Code.QUERY_TIMEOUT),
    **dict.fromkeys((596, 20004, 20006, CONNECTION_LOST, 20047), Code.CONNECTION_LOST),
    911: Code.DATABASE_MISSING,
}

TLS_MODES = {"off": TLS.OFF, "request": TLS.IF_OFFERED}

# ODBC's `no` still encrypts the login; `strict` would need TDS 8.
ENCRYPT = (
    dict.fromkeys((*TRUE, "mandatory"), ("require",))
    | dict.fromkeys((*FALSE, "optional"), ("request", "require"))
    | {"disable": ("off",)}
)
OPTIONS = Options(
    CLIENT_HINTS
    | IDENTITY
    | {
        "appname": WORDS,
        "application_name": setting("appname", WORDS),
        "charset": text("[A-Za-z0-9_-]{1,40}", "the name of a character set, such as UTF-8"),
        "encryption": one_of("off", "request", "require"),
        "encrypt": setting(
            "encryption", replace(choice(ENCRYPT), takes="yes, no, optional or disable")
        ),
        # FreeTDS does not verify certificates: no other value could be kept.
        "TrustServerCertificate": hint(
            replace(
                choice(dict.fromkeys(TRUE, ("true",))),
                takes="yes alone, because this type cannot verify certificates",
            )
        ),
        "driver": hint(WORDS),
        "MARS_Connection": hint(flag()),
        "MultipleActiveResultSets": hint(flag()),
        "MultiSubnetFailover": hint(flag()),
        "fast_executemany": hint(flag()),
        "autocommit": hint(flag()),
        "PersistSecurityInfo": hint(flag()),
        "tds_version": hint(text(r"[0-9.]{1,5}|auto", "a version, such as 7.4")),
        "dialTimeout": hint(DURATION),
        "keepAlive": hint(DURATION),
        "Authentication": hint(one_of("SqlPassword")),
    }
)


class MSSQL(ServerConnector):
    """SQL Server, by pymssql, which includes FreeTDS.

    FreeTDS does not verify certificates: `encryption` protects from passive listeners only. With
    `request` or `off`, a server that declines TLS gets the password obfuscated but not encrypted.
    """

    name = "mssql"
    label = "Microsoft SQL Server"
    driver = "pymssql"
    dialect = "mssql+pymssql"
    default_port = 1433
    url_schemes: ClassVar[Mapping[str, str]] = dict.fromkeys(("mssql", "sqlserver"), "mssql")
    url_drivers = ("pymssql", "pyodbc", "aioodbc", "pytds")
    url_options = OPTIONS
    sends_password = True
    statement_codes = STATEMENT_CODES
    # Without it, FreeTDS would try Kerberos, which connects to hosts that nobody has checked.
    required_credentials = ("username",)

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return what `encryption` guarantees. FreeTDS does not tell whether TLS was used."""
        return TLS_MODES.get(_encryption(configuration), TLS.REQUIRED)

    def log_in(self) -> Any:
        """Return a connection of pymssql."""
        import pymssql

        configuration, endpoint = self.configuration, self.endpoint
        remove_driver_variables()
        log_in = partial(
            pymssql.connect,
            server=host_and_port(endpoint.address, endpoint.port),
            user=configuration.username,
            password=self.secret or "",
            database=_database(configuration.database_name or ""),
            login_timeout=configuration.connection_timeout,
            timeout=configuration.query_timeout,
            tds_version="7.4",
            appname=configuration.options.get("appname", "rivergen"),
            encryption=_encryption(configuration),
            charset=_charset(configuration.options.get("charset", "UTF-8")),
        )
        # A server can route a login to another host, as Azure does; FreeTDS cannot switch that off.
        return confined(log_in, endpoint.address, endpoint.port)

    def read_version(self, connection: Any) -> str:
        """Return the first line of `@@VERSION`."""
        return one_line(fetch_value(connection, "SELECT @@VERSION").partition("\n")[0])

    def explain(self, error: Exception) -> Code:
        """Return the code for the error numbers of the server or of FreeTDS in the message."""
        text = str(error)
        # FreeTDS refuses an invalid `encryption`, or an unknown charset.
        if isinstance(error, ValueError) or text.endswith(UNKNOWN_ERROR):
            return Code.OPTION_INVALID
        if number := SERVER_NUMBER.match(text):
            return SERVER_CODES.get(int(number[1]), Code.QUERY_FAILED)
        if CONNECTION_REFUSED in text:
            return Code.TCP_REFUSED
        numbers = [*self.numbers_of(error)]
        if TIMED_OUT in numbers:
            return Code.DEADLINE
        # FreeTDS does not say that the server has no TLS. Without the option, a server of another
        # kind is more likely; most of those hang up.
        is_tls_required = self.configuration.options.get("encryption") == "require"
        is_tls_missing = is_tls_required and CONNECTION_LOST not in numbers
        return Code.TLS_FAILED if is_tls_missing else Code.PROTOCOL_FAILED

    def numbers_of(self, error: BaseException) -> Iterator[int]:
        """Yield the number that the server gave an error, if any, then the numbers of FreeTDS."""
        text = str(error)
        for number in (*SERVER_NUMBER.findall(text), *FREETDS_NUMBERS.findall(text)):
            yield int(number)


def _encryption(configuration: Configuration) -> str:
    return configuration.options.get("encryption", "require")


def _database(name: str) -> str:
    """Return the name. Raises ConnectionFailure if FreeTDS would send it as SQL, unquoted."""
    if name.startswith("["):
        raise ConnectionFailure(Code.DATABASE_MISSING)
    return name


def _charset(name: str) -> str:
    """Return the name. Raises ConnectionFailure if unknown: FreeTDS would not check its length."""
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        raise ConnectionFailure(Code.OPTION_INVALID) from None
    return name
