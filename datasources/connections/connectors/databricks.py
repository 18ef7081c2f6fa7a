"""Databricks; its driver is in requirements-cloud.txt."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from datasources.connections.causes import network_cause
from datasources.connections.connectors.base import (
    SSH_SECRETS,
    ServerConnector,
    fetch_value,
    one_line,
)
from datasources.connections.failures import Code
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    NAME,
    WORDS,
    Options,
    hint,
    text,
)

ERROR_CLASS = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
CODES: dict[object, Code] = {
    "NO_SUCH_CATALOG_EXCEPTION": Code.DATABASE_MISSING,
    "SCHEMA_NOT_FOUND": Code.SCHEMA_MISSING,
    **dict.fromkeys(("INSUFFICIENT_PERMISSIONS", "PERMISSION_DENIED"), Code.DATABASE_FORBIDDEN),
    **dict.fromkeys((401, 403), Code.LOGIN_FAILED),
    404: Code.OPTION_INVALID,  # http_path
    **dict.fromkeys((429, 503), Code.SERVER_BUSY),
}
STATEMENT_CODES = CODES | dict.fromkeys(
    ("INSUFFICIENT_PERMISSIONS", "PERMISSION_DENIED"), Code.PERMISSION_DENIED
)


class Databricks(ServerConnector):
    """Databricks SQL. The database is a catalog; the token is sent over HTTPS only."""

    name = "databricks"
    label = "Databricks"
    driver = "databricks.sql"
    dialect = "databricks"
    credential_fields = ("token", *SSH_SECRETS)
    default_port = 443
    url_schemes: ClassVar[Mapping[str, str]] = {"databricks": "databricks"}
    url_drivers = ("connector", "databricks_sql")
    url_options = Options(
        CLIENT_HINTS
        | {
            "http_path": text(r"[\w./-]{0,255}", "a path, such as /sql/1.0/warehouses/1"),
            "catalog": NAME,
            "schema": NAME,
            "user_agent_entry": hint(WORDS),
        }
    )
    required_options = ("http_path",)
    statement_codes = STATEMENT_CODES
    required_credentials = ("token",)  # without it, the driver would open a browser

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields; an option for the catalog takes precedence over the path."""
        database = url["options"].get("catalog") or url["database_name"]
        return url | {"database_name": database, "schema_name": url["options"].get("schema")}

    def log_in(self) -> Any:
        """Return a DB-API connection with an open session."""
        remove_driver_variables()
        from databricks import sql

        configuration, endpoint = self.configuration, self.endpoint
        options = configuration.options
        return sql.connect(
            server_hostname=endpoint.host,
            _port=endpoint.port,
            http_path=options["http_path"],
            access_token=configuration.secrets["token"],
            catalog=options.get("catalog") or configuration.database_name,
            schema=options.get("schema") or configuration.schema_name,
            session_configuration={"STATEMENT_TIMEOUT": str(configuration.query_timeout)},
            user_agent_entry="rivergen",
            # With cloud fetch, the server names other hosts to fetch results from.
            use_cloud_fetch=False,
            enable_telemetry=False,
            _socket_timeout=configuration.connection_timeout,
            _retry_stop_after_attempts_count=1,
            _retry_stop_after_attempts_duration=configuration.connection_timeout,
        )

    def read_version(self, connection: Any) -> str:
        """Query the version of the warehouse."""
        version = fetch_value(connection, "SELECT current_version().dbsql_version")
        return one_line(f"Databricks SQL {version or ''}")

    def explain(self, error: Exception) -> Code:
        """Return the code for the error class of Databricks, otherwise for the network error."""
        code = self.code_by_number(error, CODES) or network_cause(error)
        return code or Code.QUERY_FAILED

    def numbers_of(self, error: BaseException) -> Iterator[object]:
        """Yield the names of error classes, which Databricks has in its texts, and the status."""
        yield from ERROR_CLASS.findall(str(error))
        context = getattr(error, "context", None)
        if isinstance(context, dict):
            yield context.get("http-code")
