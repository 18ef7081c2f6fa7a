"""Microsoft SQL Server."""

import codecs
import re
from contextlib import closing
from functools import partial
from typing import Any

from datasources.connections.connectors.base import ServerConnector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.sandbox.confinement import confined
from datasources.connections.sandbox.environment import remove_driver_variables

# The server's number, if the server said anything: else pymssql gives one of an earlier login.
SERVER_NUMBER = re.compile(r"""\A\((\d+), b['"](?!DB-Lib)""")
FREETDS_NUMBERS = re.compile(r"DB-Lib error message (\d+)")

UNSAID = ", b'Unknown error')"

SERVER_CODES = {
    "911": Code.DATABASE_MISSING,
    "4060": Code.DATABASE_MISSING,
    "6005": Code.SERVER_BUSY,  # it is shutting down
    "10928": Code.SERVER_BUSY,  # it has too many sessions
    "10929": Code.SERVER_BUSY,
    "17142": Code.SERVER_BUSY,  # it is paused
    "17809": Code.SERVER_BUSY,  # it has too many connections
    "40501": Code.SERVER_BUSY,
    "40613": Code.SERVER_BUSY,  # the database is not there at the moment
}

TIMED_OUT, ENDED = "20003", "20017"


class MSSQL(ServerConnector):
    """SQL Server, by pymssql, which brings FreeTDS.

    FreeTDS verifies no certificate, so that `encryption` keeps out those who only listen. Without
    `encryption=require` a server that declines TLS is sent the password in an encoding that anyone
    can undo.
    """

    name = "mssql"
    label = "Microsoft SQL Server"
    driver = "pymssql"
    dialect = "mssql+pymssql"
    default_port = 1433
    url_schemes = ("mssql", "sqlserver")
    url_options = ("appname", "charset", "encryption")

    def log_in(self) -> Any:
        """Give a pymssql connection."""
        import pymssql

        configuration, endpoint = self.configuration, self.endpoint
        if not configuration.username:
            # FreeTDS would try Kerberos, which asks hosts that nobody has checked.
            raise ConnectionFailure(Code.CREDENTIALS_UNSET)
        remove_driver_variables()
        log_in = partial(
            pymssql.connect,
            server=_server(endpoint.address, endpoint.port),
            user=configuration.username,
            password=self.secret or "",
            database=_database(configuration.database_name or ""),
            login_timeout=configuration.connection_timeout,
            timeout=configuration.query_timeout,
            tds_version="7.4",
            appname=configuration.options.get("appname", "rivergen"),
            encryption=configuration.options.get("encryption", "request"),
            charset=_charset(configuration.options.get("charset", "UTF-8")),
        )
        # FreeTDS goes where a server routes it, as Azure does, and has no switch for that.
        return confined(log_in, endpoint.address, endpoint.port)

    def read_version(self, connection: Any) -> str:
        """Give the first line of `@@VERSION`."""
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT @@VERSION")
            return one_line(cursor.fetchone()[0].partition("\n")[0])

    def explain(self, error: Exception) -> Code:
        """Go by the numbers in the text, of the server and of FreeTDS."""
        text = str(error)
        # Of `encryption`, or of a charset without which FreeTDS does not even connect.
        if isinstance(error, ValueError) or text.endswith(UNSAID):
            return Code.OPTION_INVALID
        if number := SERVER_NUMBER.match(text):
            return SERVER_CODES.get(number[1], Code.LOGIN_FAILED)
        if "Connection refused" in text:
            return Code.TCP_REFUSED
        numbers = FREETDS_NUMBERS.findall(text)
        if TIMED_OUT in numbers:
            return Code.DEADLINE
        # It does not say that a server has no TLS; others than SQL Servers have mostly hung up.
        is_tls_required = self.configuration.options.get("encryption") == "require"
        is_tls_missing = is_tls_required and ENDED not in numbers
        return Code.TLS_FAILED if is_tls_missing else Code.PROTOCOL_FAILED


def _server(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _database(name: str) -> str:
    """Refuse a name in brackets: FreeTDS would send it as SQL, unquoted."""
    if name.startswith("["):
        raise ConnectionFailure(Code.DATABASE_MISSING)
    return name


def _charset(name: str) -> str:
    """Refuse an unknown one: C code would copy it without a look at its length."""
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        raise ConnectionFailure(Code.OPTION_INVALID) from None
    return name
