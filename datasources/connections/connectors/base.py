"""The base classes of connectors."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from datasources.connections.causes import causes, network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.endpoint import Endpoint, is_loopback
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS, WarningCode
from datasources.connections.stages import Stages
from datasources.connections.url_options.option import Options

SSH_SECRETS = ("ssh_password", "ssh_private_key", "ssh_private_key_passphrase")
SECRET_FIELDS = ("password", *SSH_SECRETS, "token", "service_account_json")
CREDENTIAL_FIELDS = ("username", *SECRET_FIELDS)
NETWORK_CODES_OF_STATEMENTS = {
    Code.DEADLINE: Code.QUERY_TIMEOUT,
    Code.PROTOCOL_FAILED: Code.CONNECTION_LOST,
}
TUNNEL_FIELDS = ("ssh_host", "ssh_username")
LINE_MAX_LENGTH = 100


def one_line(text: object) -> str:
    """Return untrusted text as one printable line of at most 100 characters."""
    start = str(text)[: 10 * LINE_MAX_LENGTH]
    printable = "".join(letter if letter.isprintable() else " " for letter in start)
    return " ".join(printable.split())[:LINE_MAX_LENGTH]


def fetch_value(connection: Any, statement: str) -> Any:
    """Run a statement over DB-API and return the first column of its first row."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def missing_among(credentials: Iterable[str], configuration: Configuration) -> list[str]:
    """Return those of the credentials that are not set."""
    given = {"username": configuration.username, **configuration.secrets}
    return [name for name in credentials if not given.get(name)]


class Connector:
    """One type of source: its entry in the catalogue, and how to log in and run a query.

    Each family of types has a module in this package, which is found automatically. Import drivers
    inside functions: the web process reads the catalogue only. `url_schemes` and `url_options` say
    which connection strings are valid. Never take options that move the destination or read files
    of this machine (`hostaddr`, `service`, `sslkey`, …), or that ask for more protection than the
    driver gives.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    driver: ClassVar[str]
    """The Python module of the driver."""
    dialect: ClassVar[str | None] = None
    """The dialect of SQLAlchemy, such as `postgresql+psycopg`; None if there is none."""
    statement_codes: ClassVar[Mapping[Any, Code]] = {}
    """What the numbers of the server or driver mean after the login: see `numbers_of`."""
    required_fields: ClassVar[tuple[str, ...]] = ()
    optional_fields: ClassVar[tuple[str, ...]] = ()
    credential_fields: ClassVar[tuple[str, ...]] = ()
    """The names in `CREDENTIAL_FIELDS` that this type can log in with."""
    required_credentials: ClassVar[tuple[str, ...]] = ()
    """Those of `credential_fields` without which the driver does not even try."""
    default_port: ClassVar[int | None] = None
    url_schemes: ClassVar[Mapping[str, str]] = {}
    """The schemes that may be written, the usual one first, and what each means here."""
    url_drivers: ClassVar[tuple[str, ...]] = ()
    """The drivers of SQLAlchemy that may follow a scheme, after `+`; they change nothing."""
    url_options: ClassVar[Options] = Options()
    required_options: ClassVar[tuple[str, ...]] = ()
    """Those of `url_options` without which there is no connection."""
    has_endpoint: ClassVar[bool] = False
    """Whether sources of this type are reached by host and port."""
    takes_several_hosts: ClassVar[bool] = False
    """Whether a connection string may name several hosts of one source."""
    sends_password: ClassVar[bool] = False
    """Whether a login without TLS sends the password in clear."""
    reads_storage: ClassVar[bool] = False
    """Whether sources of this type are files in the storage."""
    is_verified: ClassVar[bool] = False
    """Whether the tests log in to a live server of this type."""

    def __init__(
        self, configuration: Configuration, endpoint: Endpoint | None, stages: Stages
    ) -> None:
        self.configuration = configuration
        self._endpoint = endpoint
        self.stages = stages
        self.is_encrypted: bool | None = None
        """Whether the login used TLS, where the driver tells."""
        self.doubts: list[WarningCode] = []
        """What a connection found in the source that can be read in several ways."""

    @classmethod
    def password_field(cls) -> str | None:
        """Return the secret that a password in a connection string stands for, if any."""
        candidates = (name for name in ("password", "token") if name in cls.credential_fields)
        return next(candidates, None)

    @classmethod
    def is_driver_installed(cls) -> bool:
        """Return whether the driver can be imported; does not import it."""
        try:
            return find_spec(cls.driver) is not None
        except ModuleNotFoundError:
            return False

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a `Configuration` for the parts of a connection string.

        Raises ValidationError (400) if the type cannot use these parts.
        """
        return url

    @classmethod
    def usual_port(cls, configuration: Configuration) -> int | None:
        """Return the port to use when none is configured."""
        return cls.default_port

    @classmethod
    def is_resolved_by_driver(cls, configuration: Configuration) -> bool:
        """Return whether the driver looks up the servers by itself; `host` is then not a host."""
        return False

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return what the settings guarantee; without such options, HTTPS always verifies."""
        return TLS.VERIFIED

    @classmethod
    def warnings_of(
        cls, configuration: Configuration, is_encrypted: bool | None = None
    ) -> list[WarningCode]:
        """Return what connections with these settings do not protect.

        `is_encrypted` is what a connection has shown; None means only what is guaranteed counts.
        """
        # SSH encrypts up to the SSH server, whose key is confirmed: up to a source on that machine.
        if configuration.use_ssh_tunnel and is_loopback(configuration.host or ""):
            return []
        tls = cls.tls(configuration)
        if is_encrypted is None:
            is_encrypted = tls >= TLS.REQUIRED
        found = []
        if cls.sends_password and not is_encrypted and configuration.secrets.get("password"):
            found.append(WarningCode.PASSWORD_IN_CLEAR)
        if not is_encrypted:
            found.append(WarningCode.NOT_ENCRYPTED)
        if not is_encrypted or tls < TLS.VERIFIED:
            found.append(WarningCode.SERVER_NOT_VERIFIED)
        return found

    def warnings_found(self) -> list[WarningCode]:
        """Return what the connection that was made does not protect, and what is doubtful."""
        return self.warnings_of(self.configuration, self.is_encrypted) + self.doubts

    @classmethod
    def further_ports(cls, configuration: Configuration) -> Collection[int] | None:
        """Return the TCP ports that the driver needs beside that of the endpoint.

        None if a server may name any: the sandbox then allows all ports.
        """
        return ()

    @property
    def endpoint(self) -> Endpoint:
        """Return the endpoint to connect to; only for types that have one."""
        assert self._endpoint is not None
        return self._endpoint

    @property
    def seconds_to_log_in(self) -> int:
        """Return the limit of a login: `connection_timeout`, or the lower option `connect_timeout`.

        Raises ConnectionFailure if the option is not a whole number.
        """
        seconds = self.configuration.connection_timeout
        try:
            wanted = int(self.configuration.options.get("connect_timeout", "0"))
        except ValueError:
            raise ConnectionFailure(Code.OPTION_INVALID) from None
        return min(wanted, seconds) if wanted > 0 else seconds

    @property
    def secret(self) -> str | None:
        """The secret to log in with, if one is stored."""
        field = self.password_field()
        return self.configuration.secrets.get(field) if field else None

    @classmethod
    def check(cls, configuration: Configuration) -> None:
        """Raise ConnectionFailure if the driver, a required field or a credential is missing."""
        cls.check_driver()
        if fields := cls.missing_fields(configuration):
            fields += cls.missing_credentials(configuration)
            raise ConnectionFailure(Code.FIELDS_MISSING, fields=fields)
        cls.check_credentials(configuration)

    @classmethod
    def missing_fields(cls, configuration: Configuration) -> list[str]:
        """Return the fields that are not set and without which there is no connection."""
        required = [*cls.required_fields]
        if cls.has_endpoint:
            required.append("port")
            if configuration.use_ssh_tunnel:
                required += TUNNEL_FIELDS
        missing = [name for name in required if not getattr(configuration, name)]
        if not all(map(configuration.options.get, cls.required_options)):
            missing.append("connection_string")
        return missing

    @classmethod
    def missing_credentials(cls, configuration: Configuration) -> list[str]:
        """Return the credentials that are not set and without which the driver does not try."""
        return missing_among(cls.required_credentials, configuration)

    @classmethod
    def check_credentials(cls, configuration: Configuration) -> None:
        """Raise ConnectionFailure if a credential is missing."""
        if credentials := cls.missing_credentials(configuration):
            raise ConnectionFailure(Code.CREDENTIALS_UNSET, fields=credentials)

    @classmethod
    def check_driver(cls) -> None:
        """Raise ConnectionFailure if the driver is not installed."""
        if not cls.is_driver_installed():
            raise ConnectionFailure(Code.DRIVER_MISSING)

    def connect(self) -> Any:
        """Log in and return a DB-API connection, or the client of the driver.

        Its statements time out after `query_timeout` seconds. Raises ConnectionFailure only, which
        does not quote the driver.
        """
        self.check_driver()
        self.check_credentials(self.configuration)
        try:
            with self.stages("login"):
                return self.log_in()
        except ConnectionFailure:
            raise
        except Exception as error:
            code = self.explain(error)
            if code == Code.LOGIN_FAILED and self.lacks_secret(error):
                names = filter(None, ("username", self.password_field()))
                fields = missing_among(names, self.configuration)
                raise ConnectionFailure(Code.CREDENTIALS_UNSET, fields=fields) from None
            raise ConnectionFailure(code) from None

    def query_version(self, connection: Any) -> str:
        """Run a trivial query. Return the server's name and version. Raises ConnectionFailure."""
        try:
            with self.stages("query"):
                return self.read_version(connection)
        except ConnectionFailure:
            raise
        except Exception as error:
            raise ConnectionFailure(self.explain_statement(error) or Code.QUERY_FAILED) from None

    def explain_statement(self, error: Exception) -> Code | None:
        """Return the code for an error after the login; None if nothing more is known of it."""
        if code := self.code_by_number(error, self.statement_codes):
            return code
        code = network_cause(error)
        return code and NETWORK_CODES_OF_STATEMENTS.get(code, code)

    def code_by_number(self, error: BaseException, codes: Mapping[Any, Code]) -> Code | None:
        """Return the code for the first number of an error or its causes that is in `codes`."""
        numbers = (number for cause in causes(error) for number in self.numbers_of(cause))
        return next((codes[number] for number in numbers if number in codes), None)

    def numbers_of(self, error: BaseException) -> Iterable[object]:
        """Return the numbers or names that server or driver give an error, the best one first."""
        return ()

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Yield a connection of SQLAlchemy, or of the driver if there is no dialect.

        The connection closes when the block ends. Raises ConnectionFailure.
        """
        if self.dialect is None:
            connection = self.connect()
            try:
                yield connection
            finally:
                self.close(connection)
            return
        from sqlalchemy import create_engine
        from sqlalchemy.pool import QueuePool

        engine = create_engine(
            f"{self.dialect}://",
            creator=self.connect,
            poolclass=QueuePool,
            pool_size=self.configuration.connection_pool_size,
            max_overflow=0,
            pool_timeout=self.configuration.connection_timeout,
        )
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def close(self, connection: Any) -> None:
        """Close a connection in any state. Raises nothing."""
        with contextlib.suppress(Exception):
            connection.close()

    def lacks_secret(self, error: Exception) -> bool:
        """Return whether a login was refused because no secret is stored."""
        return not any(
            self.configuration.secrets.get(field)
            for field in self.credential_fields
            if field not in SSH_SECRETS
        )

    def log_in(self) -> Any:
        """Connect to the endpoint and log in. May raise anything: see `explain`.

        Implementations enter the stage `tls` around the handshake if the driver shows it.
        """
        raise NotImplementedError

    def read_version(self, connection: Any) -> str:
        """Run a trivial query, and return the name and version of the source in one line.

        May raise any exception of the driver.
        """
        raise NotImplementedError

    def explain(self, error: Exception) -> Code:
        """Return the code for an error of `log_in`; LOGIN_FAILED only if the server refused it."""
        raise NotImplementedError


ConnectorClass = type[Connector]


class ServerConnector(Connector):
    """A type whose sources are servers with a host and a port."""

    has_endpoint = True

    required_fields: ClassVar[tuple[str, ...]] = ("host", "database_name")
    optional_fields: ClassVar[tuple[str, ...]] = ("port", "schema_name", "connection_string")
    credential_fields: ClassVar[tuple[str, ...]] = ("username", "password", *SSH_SECRETS)


def with_schema_of_path(url: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a connection string whose path is `database/schema`.

    Raises ValidationError (400) if an option names another schema.
    """
    database, slash, schema = (url["database_name"] or "").partition("/")
    if not slash or not schema:
        return url | {"database_name": database or None}
    if "/" in schema:
        raise ValidationError("The path has more than two parts. Write database/schema.")
    if url.get("schema_name") not in (None, schema):
        raise ValidationError("The path and the option schema name two schemas. Write one.")
    return url | {"database_name": database, "schema_name": schema}
