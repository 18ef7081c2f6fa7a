"""MySQL and MariaDB."""

import codecs
import re
import ssl
from typing import Any, ClassVar

from datasources.connections.connectors.base import ServerConnector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.stages import Stages

SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
CLEAR_TEXT_PLUGINS = ("dialog", "mysql_clear_password")
"""The ways to log in for which PyMySQL sends the password as it is, encrypted or not.

For `caching_sha2_password` and `sha256_password` it does so over TLS only; without, it encrypts it
with a key that the server shows, and that nobody checks.
"""
UNKNOWN_VARIABLE = 1193
CODES: dict[object, Code] = {
    1040: Code.SERVER_BUSY,
    1049: Code.DATABASE_MISSING,
    1053: Code.SERVER_BUSY,  # it is shutting down
    1115: Code.OPTION_INVALID,  # no such charset
    1203: Code.SERVER_BUSY,  # too many connections of this user
    1226: Code.SERVER_BUSY,  # too many connections of this user in an hour
    1231: Code.OPTION_INVALID,  # a charset that clients cannot have
    1253: Code.OPTION_INVALID,  # the collation is of another charset
    1273: Code.OPTION_INVALID,  # no such collation
    2026: Code.TLS_FAILED,  # the server offers none
    2059: Code.LOGIN_FAILED,  # by a plugin that PyMySQL does not have
    3032: Code.SERVER_BUSY,  # it is offline for its users
    3159: Code.TLS_FAILED,  # the server takes nothing else
}
ANSWER_MARGIN_SECONDS = 5
"""How much longer than `query_timeout` an answer is waited for: the server's own limit is first."""


class StagedContext(ssl.SSLContext):
    """The TLS settings of a client; its handshake is a stage."""

    stages: Stages

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Shake hands. Raises ConnectionFailure."""
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
    url_schemes: ClassVar[tuple[str, ...]] = ("mysql",)
    url_options = ("charset", "collation", "connect_timeout", "ssl_mode")

    def log_in(self) -> Any:
        connection = self._prepare()
        try:
            connection.connect(sock=self.endpoint.dial())
            self._limit_statements(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def read_version(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            version = str(cursor.fetchone()[0])
        product = "MariaDB" if is_mariadb(version) else "MySQL"
        return one_line(f"{product} {version.partition('-')[0]}")

    def explain(self, error: Exception) -> Code:
        if isinstance(error, OSError):  # PyMySQL turns its own into others: this is from dialling
            return Code.TCP_TIMEOUT if isinstance(error, TimeoutError) else Code.TCP_REFUSED
        if isinstance(error.__context__, TimeoutError):
            return Code.DEADLINE
        number = error.args[0] if error.args else None
        is_said_by_server = isinstance(number, int) and not 2000 <= number < 3000
        other = Code.LOGIN_FAILED if is_said_by_server else Code.PROTOCOL_FAILED
        return CODES.get(number, other)

    def _prepare(self) -> Any:
        """Give a connection that has its settings and is not open yet."""
        from pymysql import Connection

        mode = self._ssl_mode()
        context = self._make_context(mode)
        connection: Any = Connection(
            host=self.endpoint.host,
            port=self.endpoint.port,
            # As text it would be sent in Latin-1; what MySQL compares it with is UTF-8.
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
            defer_connect=True,
        )
        # For nobody PyMySQL would log in as the user that this process runs as.
        connection.user = self.configuration.username or ""
        if mode == "PREFERRED":
            # Given to the constructor, a context means that TLS is required.
            connection.ctx = context
        return connection

    def _ssl_mode(self) -> str:
        """Give the mode, in upper case. Raises ConnectionFailure for an unknown one."""
        mode = self.configuration.options.get("ssl_mode", "PREFERRED").upper()
        if mode not in SSL_MODES:
            raise ConnectionFailure(Code.OPTION_INVALID)
        return mode

    def _charset(self) -> str:
        """Give the charset. Raises ConnectionFailure unless PyMySQL and Python know it."""
        from pymysql.charset import charset_by_name

        name = self.configuration.options.get("charset", "utf8mb4")
        try:
            codecs.lookup(charset_by_name(name).encoding)
        except (AttributeError, LookupError):  # for an unknown one PyMySQL gives None
            raise ConnectionFailure(Code.OPTION_INVALID) from None
        return name

    def _make_context(self, mode: str) -> StagedContext:
        """Give the settings of TLS; its authorities are those that OpenSSL knows by itself."""
        context = StagedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.stages = self.stages
        context.check_hostname = mode == "VERIFY_IDENTITY"
        if mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
            context.load_default_certs()
        else:
            context.verify_mode = ssl.CERT_NONE
        return context

    def _collation(self) -> str | None:
        """Give the collation; PyMySQL puts it into a statement as it is, so it has to be a name."""
        collation = self.configuration.options.get("collation")
        if collation is not None and not re.fullmatch(r"[A-Za-z0-9_]+", collation):
            raise ConnectionFailure(Code.OPTION_INVALID)
        return collation

    def _limit_statements(self, connection: Any) -> None:
        """End statements after `query_timeout`.

        MySQL limits only those that read, other servers may know neither variable, or hang: so
        answers are waited for only a little longer.
        """
        from pymysql import MySQLError

        seconds = self.configuration.query_timeout
        # Many choose MySQL for a MariaDB, so the server is asked and not the type.
        if is_mariadb(connection.get_server_info()):
            limit = f"max_statement_time = {seconds}"
        else:
            limit = f"max_execution_time = {seconds * 1000}"
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {limit}")
        except MySQLError as error:
            if error.args[0] != UNKNOWN_VARIABLE:
                raise
        # PyMySQL takes these only before the login, but looks at them before each packet.
        connection._read_timeout = connection._write_timeout = seconds + ANSWER_MARGIN_SECONDS


class MariaDB(MySQL):
    """MariaDB, by the driver of MySQL."""

    name = "mariadb"
    label = "MariaDB"
    dialect = "mariadb+pymysql"
    url_schemes = ("mariadb", "mysql")
    is_verified = True


def is_mariadb(version: str) -> bool:
    """Whether a server with such a version is a MariaDB."""
    return "mariadb" in version.lower()


def refuse_unless_encrypted(connection: Any) -> None:
    """Stand in for a clear-text plugin of PyMySQL; give none, so that it goes on by its own.

    Raises ConnectionFailure if all on the way could read the password.
    """
    if not connection._secure:
        raise ConnectionFailure(Code.LOGIN_FAILED)
