"""What every connector says of its type, and does for it."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

from datasources.connections.configuration import Configuration
from datasources.connections.endpoint import Endpoint
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.stages import Stages

SSH_SECRETS = ("ssh_password", "ssh_private_key", "ssh_private_key_passphrase")
SECRET_FIELDS = ("password", *SSH_SECRETS, "token", "service_account_json")
CREDENTIAL_FIELDS = ("username", *SECRET_FIELDS)
LINE_MAX_LENGTH = 100


def one_line(text: object) -> str:
    """Give what a stranger says as one line: printable, of at most 100 characters."""
    start = str(text)[: 10 * LINE_MAX_LENGTH]
    printable = "".join(letter if letter.isprintable() else " " for letter in start)
    return " ".join(printable.split())[:LINE_MAX_LENGTH]


class Connector:
    """One type of source: the catalogue's entry, and how to log in and to ask something.

    A file for each family, found by its being there. It imports its driver where it is used: the
    web process reads the catalogue only. `url_schemes` and `url_options` say which connection
    strings fit; options that would move the destination or read files of the server (`hostaddr`,
    `service`, `sslkey`, …) are left out on purpose.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    driver: ClassVar[str]
    """The Python module that reaches such a source."""
    dialect: ClassVar[str | None] = None
    """SQLAlchemy's name of it, such as `postgresql+psycopg`; None: there is none."""
    required_fields: ClassVar[tuple[str, ...]]
    optional_fields: ClassVar[tuple[str, ...]] = ()
    credential_fields: ClassVar[tuple[str, ...]] = ()
    """Those of `CREDENTIAL_FIELDS` that it can log in with."""
    default_port: ClassVar[int | None] = None
    url_schemes: ClassVar[tuple[str, ...]] = ()
    url_options: ClassVar[tuple[str, ...]] = ()
    has_endpoint: ClassVar[bool] = False
    """Whether its sources are reached by host and port."""
    is_verified: ClassVar[bool] = False
    """Whether the tests log in to a live server of this type."""

    def __init__(
        self, configuration: Configuration, endpoint: Endpoint | None, stages: Stages
    ) -> None:
        self.configuration = configuration
        self._endpoint = endpoint
        self.stages = stages

    @classmethod
    def password_field(cls) -> str | None:
        """Name the secret that stands in the place of a password in its connection strings."""
        candidates = (name for name in ("password", "token") if name in cls.credential_fields)
        return next(candidates, None)

    @classmethod
    def is_driver_installed(cls) -> bool:
        """Whether the driver can be imported; it is not, to find out."""
        try:
            return find_spec(cls.driver) is not None
        except ModuleNotFoundError:
            return False

    @classmethod
    def usual_port(cls, configuration: Configuration) -> int | None:
        """Give the port of a server of which nobody has said it."""
        return cls.default_port

    @classmethod
    def is_found_by_driver(cls, configuration: Configuration) -> bool:
        """Whether `host` is no host, but a name by which the driver finds the servers."""
        return False

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect to, if it has one."""
        assert self._endpoint is not None
        return self._endpoint

    @property
    def seconds_to_log_in(self) -> int:
        """How long a login may take; `connect_timeout` in the connection string can shorten it.

        Raises ConnectionFailure if that is no whole number.
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
        """Raise ConnectionFailure if the driver, or a field that a connection needs, is missing."""
        cls.check_driver()
        if any(getattr(configuration, field) is None for field in cls.required_fields):
            raise ConnectionFailure(Code.FIELDS_MISSING)

    @classmethod
    def check_driver(cls) -> None:
        """Raise ConnectionFailure if the driver is not installed."""
        if not cls.is_driver_installed():
            raise ConnectionFailure(Code.DRIVER_MISSING)

    def connect(self) -> Any:
        """Log in: give a DB-API connection, or the driver's own client.

        Its statements end after `query_timeout` seconds. Raises ConnectionFailure, and nothing
        else, without the driver's words.
        """
        self.check_driver()
        try:
            with self.stages("login"):
                return self.log_in()
        except ConnectionFailure:
            raise
        except Exception as error:
            code = self.explain(error)
            if code == Code.LOGIN_FAILED and self.needs_secret():
                code = Code.CREDENTIALS_UNSET
            raise ConnectionFailure(code) from None

    def ask(self, connection: Any) -> str:
        """Run a trivial query: give the server's name and version. Raises ConnectionFailure."""
        try:
            with self.stages("query"):
                return self.read_version(connection)
        except Exception:
            raise ConnectionFailure(Code.QUERY_FAILED) from None

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Give a connection of SQLAlchemy's until the block ends, or the driver's own.

        Raises ConnectionFailure if there is none to be had.
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
        """Close what `connect` gave, whatever state it is in."""
        with contextlib.suppress(Exception):
            connection.close()

    def needs_secret(self) -> bool:
        """Whether a login may have failed because no secret is stored."""
        return not any(
            self.configuration.secrets.get(field)
            for field in self.credential_fields
            if field not in SSH_SECRETS
        )

    def log_in(self) -> Any:
        """Connect to the endpoint and log in, whatever the driver raises.

        Enters the stage `tls` for as long as the handshake takes, if there is one.
        """
        raise NotImplementedError

    def read_version(self, connection: Any) -> str:
        """Run a trivial query, whatever the driver raises; the answer is at most a line."""
        raise NotImplementedError

    def explain(self, error: Exception) -> Code:
        """Say what an error of `log_in` means: LOGIN_FAILED only if the server refuses it."""
        raise NotImplementedError


ConnectorClass = type[Connector]


class ServerConnector(Connector):
    """A type whose sources are servers, reached by host and port."""

    has_endpoint = True

    required_fields: ClassVar[tuple[str, ...]] = ("host", "database_name")
    optional_fields: ClassVar[tuple[str, ...]] = ("port", "schema_name", "connection_string")
    credential_fields: ClassVar[tuple[str, ...]] = ("username", "password", *SSH_SECRETS)
