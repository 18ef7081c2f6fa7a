"""PostgreSQL, and databases that speak its protocol."""

import os
import select
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.libpq import (
    LoginError,
    explain_login,
    explain_sqlstate,
    show_sqlstates,
)
from datasources.connections.protection import TLS
from datasources.connections.url_options.postgresql import POSTGRESQL

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn


TLS_MODES = {
    "disable": TLS.OFF,
    "allow": TLS.IF_OFFERED,
    "prefer": TLS.IF_OFFERED,
    "require": TLS.REQUIRED,
    # Any host has a certificate of one of the system's authorities.
    "verify-ca": TLS.REQUIRED,
    "verify-full": TLS.VERIFIED,
}
LOST = "lost"  # in place of a SQLSTATE: the connection broke, so there is none
STATEMENT_CODES = {
    "08": Code.CONNECTION_LOST,
    LOST: Code.CONNECTION_LOST,
    "3F000": Code.SCHEMA_MISSING,
    "40001": Code.CONNECTION_LOST,  # a standby keeps up with its primary
    "42501": Code.PERMISSION_DENIED,
    "53": Code.SERVER_BUSY,
    "57": Code.CONNECTION_LOST,  # shutting down, crashed, ended by an administrator
    "57014": Code.QUERY_TIMEOUT,
}
SERVER_WITHOUT_TLS = "server does not support SSL"
# How a server may authenticate the user: nothing that looks for Kerberos tickets on this machine.
AUTHENTICATION = "scram-sha-256,md5,none"
AUTHENTICATION_OVER_TLS = f"password,{AUTHENTICATION}"
# In one message, and not with the isolation level of the role: a role may end transactions that
# wait for a client, and one that is DEFERRABLE may wait for others.
VERSION = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT version(); COMMIT"


class PostgreSQL(ServerConnector):
    """PostgreSQL, by psycopg and libpq."""

    name = "postgresql"
    label = "PostgreSQL"
    driver = "psycopg"
    dialect = "postgresql+psycopg"
    default_port = 5432
    url_schemes: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("postgresql", "postgres", "pgsql", "postgis", "timescaledb", "timescale"), "postgresql"
    )
    url_drivers = (
        *("psycopg", "psycopg2", "psycopg2cffi", "psycopg_async", "asyncpg", "pg8000", "aiopg"),
        *("pygresql", "pypostgresql", "redshift_connector"),
    )
    url_options = POSTGRESQL
    is_verified = True
    statement_codes = STATEMENT_CODES

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return what `sslmode` guarantees; libpq's default is `prefer`."""
        return TLS_MODES.get(configuration.options.get("sslmode", "prefer"), TLS.OFF)

    def log_in(self) -> "Connection[Any]":
        from psycopg import Connection

        connection = Connection(self.open_pgconn())
        try:
            connection.autocommit = True
            milliseconds = self.configuration.query_timeout * 1000
            # Set by a statement, not a startup parameter: poolers and Redshift refuse those.
            connection.execute(f"SET statement_timeout = {milliseconds:d}")
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def open_pgconn(self) -> "PGconn":
        """Log in as psycopg does, but with stages and a timeout. Return libpq's connection.

        libpq gets the checked address (`hostaddr`) and uses no file of this machine: no
        `~/.pgpass`, no service file, no client key.
        """
        self.endpoint.close_unused()  # libpq opens its own connection
        parameters = self.parameters()
        deadline = time.monotonic() + self.seconds_to_log_in
        try:
            return self._open(parameters, deadline)
        except LoginError as error:
            is_refused = self.explain(error) == Code.CLEAR_PASSWORD_REFUSED
            if not is_refused or self.tls(self.configuration) == TLS.OFF:
                raise
        # libpq cannot allow a clear password only if it happens to use TLS, so make it use TLS.
        over_tls = {"sslmode": "require", "require_auth": AUTHENTICATION_OVER_TLS}
        try:
            return self._open(parameters | over_tls, deadline)
        except LoginError as error:
            if SERVER_WITHOUT_TLS in str(error):
                self.stages.drop("tls")
                raise ConnectionFailure(Code.CLEAR_PASSWORD_REFUSED) from None
            raise

    def _open(self, parameters: dict[str, Any], deadline: float) -> "PGconn":
        """Return libpq's connection after one login. Raises LoginError or TimeoutError."""
        from psycopg.conninfo import make_conninfo
        from psycopg.pq import PGconn

        pgconn = PGconn.connect_start(make_conninfo(**parameters).encode())
        show_sqlstates(pgconn)
        try:
            self._poll(pgconn, deadline)
        except BaseException:
            pgconn.finish()  # otherwise the traceback would keep it open
            raise
        self.is_encrypted = bool(pgconn.ssl_in_use)
        pgconn.nonblocking = 1
        return pgconn

    def _poll(self, pgconn: "PGconn", deadline: float) -> None:
        """Drive the login until it is complete. Raises LoginError or TimeoutError."""
        from psycopg.pq import ConnStatus, PollingStatus

        with ExitStack() as tls:
            is_tls = False
            while (polling := pgconn.connect_poll()) != PollingStatus.OK:
                if pgconn.status == ConnStatus.SSL_STARTUP and not is_tls:
                    is_tls = True
                    tls.enter_context(self.stages("tls"))
                elif is_tls and pgconn.status not in (ConnStatus.SSL_STARTUP, ConnStatus.BAD):
                    is_tls = False
                    tls.pop_all().close()
                    self._drop_tls_unless_used(pgconn)
                if polling == PollingStatus.FAILED:
                    text = pgconn.error_message.decode(errors="replace")
                    raise LoginError(text, pgconn.needs_password)
                wait_for(pgconn.socket, polling == PollingStatus.READING, deadline)
        self._drop_tls_unless_used(pgconn)  # libpq may have retried without TLS

    def _drop_tls_unless_used(self, pgconn: "PGconn") -> None:
        if not pgconn.ssl_in_use:  # the server has declined
            self.stages.drop("tls")

    def parameters(self) -> dict[str, Any]:
        """Return the connection parameters of libpq."""
        configuration = self.configuration
        options: dict[str, str | None] = {
            name: value
            for name, value in configuration.options.items()
            if name in self.url_options and name not in ("connect_timeout", "search_path")
        }
        if schemas := configuration.options.get("search_path"):
            options["options"] = f"{options.get('options', '')} -csearch_path={schemas}".lstrip()
        if configuration.options.get("sslmode", "").startswith("verify-"):
            options["sslrootcert"] = ssl.get_default_verify_paths().cafile
        return {
            "application_name": "rivergen",
            **options,
            "client_encoding": "UTF8",  # a role or a database may have another default
            "gssencmode": "disable",  # Kerberos connects to unchecked hosts
            "sslcertmode": "disable",
            "require_auth": (
                AUTHENTICATION_OVER_TLS
                if self.tls(configuration) >= TLS.REQUIRED
                else AUTHENTICATION
            ),
            "host": self.endpoint.host,
            "hostaddr": self.endpoint.address,
            "port": self.endpoint.port,
            "dbname": configuration.database_name,
            "user": configuration.username,
            "password": self.secret,
            "passfile": f"{os.devnull}/none",  # a path that cannot exist
        }

    def read_version(self, connection: Any) -> str:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(VERSION)
            cursor.nextset()
            version = cursor.fetchone()[0]
        connection.autocommit = False
        return one_line(version).partition(" on ")[0]

    def explain(self, error: Exception) -> Code:
        if isinstance(error, TimeoutError):
            return Code.DEADLINE
        # A pooler accepts the login, and may refuse the first statement for the server behind it.
        if sqlstate := getattr(error, "sqlstate", None):
            return explain_sqlstate(sqlstate, str(error))
        return explain_login(str(error))

    def lacks_secret(self, error: Exception) -> bool:
        """Return whether the server asked for a password, and none is stored."""
        return isinstance(error, LoginError) and error.lacks_password

    def numbers_of(self, error: BaseException) -> Iterator[object]:
        """Yield the SQLSTATE of an error and its class, or the type of errors without one."""
        from psycopg import Error, OperationalError

        if isinstance(error, Error) and error.sqlstate:
            yield from (error.sqlstate, error.sqlstate[:2])
        elif isinstance(error, OperationalError):
            yield LOST


class Redshift(PostgreSQL):
    """Amazon Redshift, by the driver of PostgreSQL."""

    name = "redshift"
    label = "Amazon Redshift"
    default_port = 5439
    url_schemes = dict.fromkeys(("redshift", *PostgreSQL.url_schemes), "redshift")
    is_verified = False


class CockroachDB(PostgreSQL):
    """CockroachDB, by the driver of PostgreSQL."""

    name = "cockroachdb"
    label = "CockroachDB"
    default_port = 26257
    url_schemes = dict.fromkeys(
        ("cockroachdb", "cockroach", *PostgreSQL.url_schemes), "cockroachdb"
    )
    is_verified = False


def wait_for(socket: int, is_reading: bool, deadline: float) -> None:
    """Wait until the socket is ready to be read or written. Raises TimeoutError."""
    poll = select.poll()
    poll.register(socket, select.POLLIN if is_reading else select.POLLOUT)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError
