"""Microsoft SQL Server."""

import codecs
import re
from collections.abc import Mapping
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

UNKNOWN_ERROR = ", b'Unknown error')"

SERVER_CODES = {
    "911": Code.DATABASE_MISSING,
    "4060": Code.DATABASE_MISSING,
    "6005": Code.SERVER_BUSY,  # the server is shutting down
    "10928": Code.SERVER_BUSY,  # the server has too many sessions
    "10929": Code.SERVER_BUSY,
    "17142": Code.SERVER_BUSY,  # the server is paused
    "17809": Code.SERVER_BUSY,  # the server has too many connections
    "40501": Code.SERVER_BUSY,
    "40613": Code.SERVER_BUSY,  # the database is temporarily unavailable
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

TIMED_OUT, CONNECTION_LOST = "20003", "20017"


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
            return SERVER_CODES.get(number[1], Code.LOGIN_FAILED)
        if "Connection refused" in text:
            return Code.TCP_REFUSED
        numbers = FREETDS_NUMBERS.findall(text)
        if TIMED_OUT in numbers:
            return Code.DEADLINE
        # FreeTDS does not say that the server has no TLS. Without the option, a server of another
        # kind is more likely; most of those hang up.
        is_tls_required = self.configuration.options.get("encryption") == "require"
        is_tls_missing = is_tls_required and CONNECTION_LOST not in numbers
        return Code.TLS_FAILED if is_tls_missing else Code.PROTOCOL_FAILED


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
