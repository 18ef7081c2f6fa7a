"""Snowflake; its driver is in requirements-cloud.txt."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from datasources.connections.causes import network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import (
    ServerConnector,
    fetch_value,
    one_line,
    with_schema_of_path,
)
from datasources.connections.failures import Code
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    IDENTITY,
    NAME,
    WORDS,
    Options,
    flag,
    hint,
    one_of,
    setting,
)
from rivergen.hosts import canonical_address

DOMAIN = ".snowflakecomputing."
LOGIN_NUMBERS = range(390_000, 391_000)
CODES: dict[object, Code] = {
    2043: Code.DATABASE_MISSING,
    250001: Code.LOGIN_FAILED,  # no reason given
    251011: Code.DEADLINE,
    390189: Code.OPTION_INVALID,  # the user does not have the role
    390201: Code.DATABASE_MISSING,
    **dict.fromkeys((390420, 390422), Code.ADDRESS_REFUSED),
}
STATEMENT_CODES = {
    606: Code.OPTION_INVALID,  # no warehouse
    **dict.fromkeys((604, 630), Code.QUERY_TIMEOUT),
    **dict.fromkeys((2003, 2043, 3001), Code.PERMISSION_DENIED),  # or it does not exist
    **dict.fromkeys((250002, 390111, 390112), Code.CONNECTION_LOST),
}


class Snowflake(ServerConnector):
    """Snowflake, by the connector that is written in Python.

    Version 5.0 of the connector is written in Rust: the egress policy could not check the names it
    resolves and the connections it opens, such as to the cloud's metadata service. No dialect:
    SQLAlchemy's requires version 5.0.
    """

    name = "snowflake"
    label = "Snowflake"
    driver = "snowflake.connector"
    credential_fields = (*ServerConnector.credential_fields, "token")
    default_port = 443
    statement_codes = STATEMENT_CODES
    url_schemes: ClassVar[Mapping[str, str]] = {"snowflake": "snowflake"}
    url_options = Options(
        CLIENT_HINTS
        | IDENTITY
        | {
            "role": NAME,
            "warehouse": NAME,
            "schema": setting("schema_name", NAME),
            "db": setting("database_name", NAME),
            "authenticator": hint(one_of("snowflake")),
            "application": hint(WORDS),
            "client_session_keep_alive": hint(flag()),
            "cache_column_metadata": hint(flag()),
        }
    )

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields: the path is `database/schema`, and the host may be an account."""
        if url["host"] == canonical_address(url["host"]):
            raise ValidationError("Write the account or its host name, not an IP address.")
        if DOMAIN not in f".{url['host']}.".lower():
            url["host"] = f"{url['host']}{DOMAIN}com"
        return with_schema_of_path(url)

    @classmethod
    def further_ports(cls, configuration: Configuration) -> tuple[int, ...]:
        """Return the ports of the stores with results, and of servers that know revoked keys."""
        return (443, 80)

    def log_in(self) -> Any:
        """Return a connection of snowflake-connector-python to the configured database."""
        remove_driver_variables()
        import snowflake.connector
        from snowflake.connector.vendored.requests import sessions

        # A redirected login would send the password to another host.
        sessions.DEFAULT_REDIRECT_LIMIT = 0
        configuration, endpoint = self.configuration, self.endpoint
        connection = snowflake.connector.connect(
            account=endpoint.host.partition(".")[0],
            host=endpoint.host,
            port=endpoint.port,
            protocol="https",
            user=configuration.username,
            **self._credentials(),
            database=configuration.database_name,
            schema=configuration.schema_name,
            role=configuration.options.get("role"),
            warehouse=configuration.options.get("warehouse"),
            # Without this option, a missing database is not an error.
            validate_default_parameters=True,
            login_timeout=configuration.connection_timeout,
            socket_timeout=configuration.connection_timeout,
            network_timeout=configuration.query_timeout,
            platform_detection_timeout_seconds=0.0,
            client_store_temporary_credential=False,
            session_parameters={
                "STATEMENT_TIMEOUT_IN_SECONDS": configuration.query_timeout,
                "CLIENT_TELEMETRY_ENABLED": False,
                "ROWS_PER_RESULTSET": 0,  # a user's own would cut off results without an error
            },
        )
        return connection

    def read_version(self, connection: Any) -> str:
        """Query `CURRENT_VERSION()`."""
        return one_line(f"Snowflake {fetch_value(connection, 'SELECT CURRENT_VERSION()')}")

    def explain(self, error: Exception) -> Code:
        """Return the code for the error number of the connector or for the network error."""
        network, number = network_cause(error), getattr(error, "errno", None)
        if network or number in CODES:
            return network or CODES[number]
        return Code.LOGIN_FAILED if number in LOGIN_NUMBERS else Code.QUERY_FAILED

    def numbers_of(self, error: BaseException) -> list[object]:
        """Return the number of Snowflake or of the connector."""
        return [getattr(error, "errno", None)]

    def _credentials(self) -> dict[str, str | None]:
        """Return a token (OAuth) or a password; other methods open browsers or read files."""
        if token := self.configuration.secrets.get("token"):
            return {"authenticator": "oauth", "token": token}
        return {"authenticator": "snowflake", "password": self.secret}
