"""MySQL and MariaDB."""

import codecs
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, fetch_value, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS
from datasources.connections.stages import Stages
from datasources.connections.url_options.mysql import MYSQL

TLS_MODES = {
    "DISABLED": TLS.OFF,
    "PREFERRED": TLS.IF_OFFERED,
    "REQUIRED": TLS.REQUIRED,
    # Any host has a certificate of one of the system's authorities.
    "VERIFY_CA": TLS.REQUIRED,
    "VERIFY_IDENTITY": TLS.VERIFIED,
}
CLEAR_TEXT_PLUGINS = ("dialog", "mysql_clear_password", "mysql_old_password", "sha256_password")
"""The authentication plugins that need TLS: PyMySQL sends the password in clear, or as good as.

For `mysql_old_password` it sends a hash that can be reversed. For `sha256_password` without TLS, it
encrypts the password with a public key that the server presents and nobody verifies.
"""
UNKNOWN_VARIABLE = 1193
CODES: dict[object, Code] = {
    1037: Code.SERVER_BUSY,  # out of memory
    1040: Code.SERVER_BUSY,
    1041: Code.SERVER_BUSY,  # out of memory
    1042: Code.ADDRESS_REFUSED,  # the address has no name
    1043: Code.PROTOCOL_FAILED,  # bad handshake
    1044: Code.DATABASE_FORBIDDEN,
    1045: Code.LOGIN_FAILED,
    1049: Code.DATABASE_MISSING,
    1053: Code.SERVER_BUSY,  # shutting down
    1115: Code.OPTION_INVALID,  # unknown charset
    1129: Code.ADDRESS_REFUSED,  # blocked after many errors
    1130: Code.ADDRESS_REFUSED,
    1203: Code.SERVER_BUSY,  # too many connections of the user
    1226: Code.SERVER_BUSY,  # too many connections of the user per hour
    1231: Code.OPTION_INVALID,  # not allowed as charset of a client
    1251: Code.LOGIN_FAILED,  # authentication unknown to PyMySQL
    1253: Code.OPTION_INVALID,  # collation of another charset
    1273: Code.OPTION_INVALID,  # unknown collation
    1275: Code.LOGIN_FAILED,  # the server accepts no password of the old format
    1524: Code.LOGIN_FAILED,  # authentication plugin not loaded
    1698: Code.LOGIN_FAILED,
    1820: Code.ACCOUNT_LOCKED,  # password expired
    1862: Code.ACCOUNT_LOCKED,  # password expired
    2026: Code.TLS_FAILED,  # the server offers no TLS
    2059: Code.LOGIN_FAILED,  # authentication plugin unknown to PyMySQL
    3032: Code.SERVER_BUSY,  # offline mode
    3118: Code.ACCOUNT_LOCKED,
    3159: Code.TLS_FAILED,  # the server requires TLS
    3955: Code.ACCOUNT_LOCKED,  # too many wrong passwords
    4150: Code.ACCOUNT_LOCKED,  # too many wrong passwords, MariaDB
    4151: Code.ACCOUNT_LOCKED,  # MariaDB
    9000: Code.ADDRESS_REFUSED,  # firewall of Azure
    9001: Code.SERVER_BUSY,  # ProxySQL reaches no server
}
STATEMENT_CODES = {
    **dict.fromkeys((1044, 1045, 1142, 1143, 1227, 1370), Code.PERMISSION_DENIED),
    **dict.fromkeys((1205, 1317, 1969, 3024), Code.QUERY_TIMEOUT),
    **dict.fromkeys((1053, 1152, 1158, 1159, 1160, 1161, 1927), Code.CONNECTION_LOST),
    **dict.fromkeys((2006, 2013, 2055, 3169, 4031), Code.CONNECTION_LOST),
    **dict.fromkeys((1037, 1040, 1041, 1203, 1226, 3032, 9001), Code.SERVER_BUSY),
    **dict.fromkeys((1820, 1862), Code.ACCOUNT_LOCKED),
    1049: Code.DATABASE_MISSING,
}
SESSION = {
    # Without these, a setting of the server or of its `init_connect` would cut off results, sort
    # long names by their start, or refuse to read.
    "sql_select_limit": str(2**64 - 1),
    "max_sort_length": "1024",
    "sql_big_selects": "1",
    # Defaults and expressions are spelled by these.
    "sql_mode": "''",
    "sql_quote_show_create": "1",
    "time_zone": "'+00:00'",
}
"""The variables that decide what a statement returns, whatever the server sets them to."""
ANSWER_MARGIN_SECONDS = 5
"""Added to `query_timeout` for the client's timeout, so that the server's limit comes first."""


class StagedContext(ssl.SSLContext):
    """The TLS settings of a client, whose handshake is timed as the stage `tls`."""

    stages: Stages

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Perform the TLS handshake. Raises ConnectionFailure."""
        try:
            with self.stages("tls"):
                return super().wrap_socket(*args, **options)
        except TimeoutError:
            raise ConnectionFailure(Code.DEADLINE) from None
        except (OSError, ValueError):
            raise ConnectionFailure(Code.TLS_FAILED) from None


class MySQL(ServerConnector):
    """MySQL, by PyMySQL."""

    name = "mysql"
    label = "MySQL"
    driver = "pymysql"
    dialect = "mysql+pymysql"
    default_port = 3306
    statement_codes = STATEMENT_CODES
    url_schemes: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("mysql", "mysql2", "mysqlgis"), "mysql"
    )
    url_drivers = (
        *("pymysql", "mysqldb", "mysqlclient", "mysqlconnector", "aiomysql", "asyncmy"),
        *("cymysql", "mariadbconnector", "oursql", "pyodbc"),
    )
    url_options = MYSQL

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return what `ssl_mode` guarantees."""
        return TLS_MODES.get(_mode(configuration), TLS.OFF)

    def log_in(self) -> Any:
        connection = self._prepare()
        try:
            connection.connect(sock=self.endpoint.dial())
            self.is_encrypted = bool(connection._secure)
            self._set_variables(connection, SESSION)
            self._limit_statements(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def read_version(self, connection: Any) -> str:
        version = str(fetch_value(connection, "SELECT VERSION()"))
        product = "MariaDB" if is_mariadb(version) else "MySQL"
        return one_line(f"{product} {version.partition('-')[0]}")

    def explain(self, error: Exception) -> Code:
        if isinstance(error, OSError):  # from `dial`: PyMySQL wraps its own
            return Code.TCP_TIMEOUT if isinstance(error, TimeoutError) else Code.TCP_REFUSED
        if isinstance(error.__context__, TimeoutError):
            return Code.DEADLINE
        number = error.args[0] if error.args else None
        is_server_error = isinstance(number, int) and not 2000 <= number < 3000
        other = Code.QUERY_FAILED if is_server_error else Code.PROTOCOL_FAILED
        return CODES.get(number, other)

    def numbers_of(self, error: BaseException) -> Iterator[object]:
        """Yield the number of an error, unless it says only that the client timed out."""
        from pymysql import MySQLError

        is_timeout = isinstance(error.__context__, TimeoutError)
        if isinstance(error, MySQLError) and error.args and not is_timeout:
            yield error.args[0]

    def _prepare(self) -> Any:
        """Return a connection that has its settings but is not open yet."""
        from pymysql import Connection

        mode = self._ssl_mode()
        context = self._make_context(mode)
        connection: Any = Connection(
            host=self.endpoint.host,
            port=self.endpoint.port,
            # PyMySQL would encode text as Latin-1; MySQL expects UTF-8.
            password=(self.secret or "").encode(),
            database=self.configuration.database_name,
            charset=self._charset(),
            collation=self._collation(),
            ssl=None if mode == "PREFERRED" else context,
            ssl_disabled=mode == "DISABLED",
            read_timeout=self.seconds_to_log_in,
            write_timeout=self.seconds_to_log_in,
            local_infile=False,
            auth_plugin_map=dict.fromkeys(CLEAR_TEXT_PLUGINS, refuse_unless_encrypted),
            server_public_key=NoPublicKey(),
            defer_connect=True,
        )
        # Set here: for an empty user, the constructor takes the user of this process.
        connection.user = self.configuration.username or ""
        if mode == "PREFERRED":
            # Set here: for the constructor, a context means that TLS is required.
            connection.ctx = context
        return connection

    def _ssl_mode(self) -> str:
        """Return the mode in upper case. Raises ConnectionFailure if it is unknown."""
        mode = _mode(self.configuration)
        if mode not in TLS_MODES:
            raise ConnectionFailure(Code.OPTION_INVALID)
        return mode

    def _charset(self) -> str:
        """Return the charset. Raises ConnectionFailure unless PyMySQL and Python know it."""
        from pymysql.charset import charset_by_name

        name = self.configuration.options.get("charset", "utf8mb4")
        try:
            codecs.lookup(charset_by_name(name).encoding)
        except (AttributeError, LookupError):  # PyMySQL returns None if unknown
            raise ConnectionFailure(Code.OPTION_INVALID) from None
        return name

    def _make_context(self, mode: str) -> StagedContext:
        """Return the TLS settings; certificates are verified against the system's authorities."""
        context = StagedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.stages = self.stages
        context.check_hostname = mode == "VERIFY_IDENTITY"
        if mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
            context.load_default_certs()
        else:
            context.verify_mode = ssl.CERT_NONE
        return context

    def _collation(self) -> str | None:
        """Return the collation, checked: PyMySQL puts it into a statement unquoted."""
        collation = self.configuration.options.get("collation")
        if collation is not None and not re.fullmatch(r"[A-Za-z0-9_]+", collation):
            raise ConnectionFailure(Code.OPTION_INVALID)
        return collation

    def _set_variables(self, connection: Any, variables: Mapping[str, str]) -> None:
        """Set variables of the session; one by one if the server does not know all of them."""
        from pymysql import MySQLError

        assignments = ", ".join(f"{name} = {value}" for name, value in variables.items())
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {assignments}")
        except MySQLError as error:
            if error.args[0] != UNKNOWN_VARIABLE:
                raise
            if len(variables) > 1:
                for name, value in variables.items():
                    self._set_variables(connection, {name: value})

    def _limit_statements(self, connection: Any) -> None:
        """Limit statements to `query_timeout` on the server, and a little later on the client.

        The client needs a limit, too: MySQL limits only SELECT, and other servers may not know the
        variable, or hang.
        """
        seconds = self.configuration.query_timeout
        # Ask the server, not the type: many choose the type MySQL for a MariaDB.
        if is_mariadb(connection.get_server_info()):
            limit = {"max_statement_time": str(seconds)}
        else:
            limit = {"max_execution_time": str(seconds * 1000)}
        self._set_variables(connection, limit)
        # PyMySQL reads these timeouts for each packet, but has no method to change them later.
        connection._read_timeout = connection._write_timeout = seconds + ANSWER_MARGIN_SECONDS


class MariaDB(MySQL):
    """MariaDB, by the driver of MySQL."""

    name = "mariadb"
    label = "MariaDB"
    dialect = "mariadb+pymysql"
    url_schemes = dict.fromkeys(("mariadb", *MySQL.url_schemes), "mariadb")
    is_verified = True


def is_mariadb(version: str) -> bool:
    """Return whether a version string is that of a MariaDB."""
    return "mariadb" in version.lower()


def refuse_unless_encrypted(connection: Any) -> None:
    """Raise ConnectionFailure if a clear-text plugin would send the password without TLS.

    PyMySQL calls this in place of a plugin. It returns None, so that PyMySQL uses its own plugin.
    """
    if not connection._secure:
        raise ConnectionFailure(Code.CLEAR_PASSWORD_REFUSED)


class NoPublicKey:
    """Stands for the server's public key, which `caching_sha2_password` needs without TLS.

    PyMySQL asks for the key, to encrypt the password with it, once it finds that it has none.
    Nobody would have verified that key.
    """

    def __bool__(self) -> bool:
        """Raise ConnectionFailure, before anything is sent."""
        raise ConnectionFailure(Code.CLEAR_PASSWORD_REFUSED)


def _mode(configuration: Configuration) -> str:
    return configuration.options.get("ssl_mode", "PREFERRED").upper()
