"""Trino; its driver is in requirements-cloud.txt."""

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any, ClassVar

from datasources.connections.causes import network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import (
    ServerConnector,
    fetch_value,
    one_line,
    with_schema_of_path,
)
from datasources.connections.failures import Code
from datasources.connections.protection import TLS
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    NAME,
    TRUE,
    WORDS,
    Options,
    choice,
    hint,
    only,
    setting,
)

TLS_PORTS = (443, 8443)
STATUS = re.compile(r"error (\d{3})\b")  # an HTTP status, as the driver writes it
UNAUTHORIZED = 401
CODES: dict[object, Code] = {
    **dict.fromkeys(("CATALOG_NOT_FOUND", "MISSING_CATALOG_NAME"), Code.DATABASE_MISSING),
    **dict.fromkeys(("SCHEMA_NOT_FOUND", "MISSING_SCHEMA_NAME"), Code.SCHEMA_MISSING),
    **dict.fromkeys(("SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN"), Code.SERVER_BUSY),
    **dict.fromkeys(("QUERY_QUEUE_FULL", "CLUSTER_OUT_OF_MEMORY"), Code.SERVER_BUSY),
    **dict.fromkeys(("NO_NODES_AVAILABLE", 429, 502, 503, 504), Code.SERVER_BUSY),
    "EXCEEDED_TIME_LIMIT": Code.DEADLINE,
    "PERMISSION_DENIED": Code.DATABASE_FORBIDDEN,
    **dict.fromkeys((UNAUTHORIZED, 403), Code.LOGIN_FAILED),
}
STATEMENT_CODES = CODES | {
    "EXCEEDED_TIME_LIMIT": Code.QUERY_TIMEOUT,
    "PERMISSION_DENIED": Code.PERMISSION_DENIED,
}


class Trino(ServerConnector):
    """Trino. The database is a catalog. Secrets are sent over HTTPS only."""

    name = "trino"
    label = "Trino"
    driver = "trino"
    dialect = "trino"
    credential_fields = (*ServerConnector.credential_fields, "token")
    default_port = 8080
    statement_codes = STATEMENT_CODES
    url_schemes: ClassVar[Mapping[str, str]] = {"trino": "trino"}
    url_drivers = ("rest",)
    url_options = Options(
        CLIENT_HINTS
        | {
            "user": setting("username", NAME),
            "source": WORDS,
            # A secret is sent over HTTPS only.
            "protocol": setting("tls", choice({"https": ("true",)})),
            "http_scheme": setting("tls", choice({"https": ("true",)})),
            "SSL": setting("tls", choice(dict.fromkeys(TRUE, ("true",)))),
            "verify": hint(only(*TRUE)),
        }
    )

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields: the path is `catalog/schema`."""
        return with_schema_of_path(url)

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return whether HTTPS is used: with a secret, on a usual port of it, or if asked for."""
        secrets = configuration.secrets
        is_secure = (
            secrets.get("token")
            or secrets.get("password")
            or configuration.port in TLS_PORTS
            or configuration.options.get("tls") == "true"
        )
        return TLS.VERIFIED if is_secure else TLS.OFF

    def log_in(self) -> Any:
        """Return a DB-API connection, after a query: Trino checks the login with each request."""
        remove_driver_variables()
        import trino

        configuration, endpoint = self.configuration, self.endpoint
        is_secure = self.tls(configuration) == TLS.VERIFIED
        scheme, host = "https" if is_secure else "http", _url_host(endpoint.host)
        connection = trino.dbapi.connect(
            host=host,
            port=endpoint.port,
            http_scheme=scheme,
            http_session=_session(scheme, host, endpoint.port),
            auth=self._authentication(),
            user=configuration.username or "rivergen",
            catalog=configuration.database_name,
            schema=configuration.schema_name,
            source=configuration.options.get("source", "rivergen"),
            session_properties={"query_max_run_time": f"{configuration.query_timeout}s"},
            request_timeout=configuration.connection_timeout,
            max_attempts=1,
            # With an encoding, the server may name other hosts to fetch results from.
            encoding=None,
        )
        with closing(connection.cursor()) as cursor:
            # Unlike `SELECT 1`, this fails if the catalog is missing.
            cursor.execute("SELECT 1 FROM information_schema.schemata LIMIT 1")
            cursor.fetchall()
        return connection

    def read_version(self, connection: Any) -> str:
        """Query `version()`."""
        return one_line(f"Trino {fetch_value(connection, 'SELECT version()')}")

    def explain(self, error: Exception) -> Code:
        """Return the code for the error name of Trino, otherwise for the network error."""
        if code := self.code_by_number(error, CODES):
            return code
        if getattr(error, "error_name", None) is not None:
            return Code.QUERY_FAILED
        return network_cause(error) or Code.PROTOCOL_FAILED

    def lacks_secret(self, error: Exception) -> bool:
        """Return whether the server asked for a secret, and none is stored."""
        return UNAUTHORIZED in self.numbers_of(error) and super().lacks_secret(error)

    def numbers_of(self, error: BaseException) -> list[object]:
        """Return the name that Trino gives an error, or the HTTP status."""
        if name := getattr(error, "error_name", None):
            return [name]
        status = STATUS.match(str(error))
        return [int(status[1])] if status else []

    def _authentication(self) -> Any:
        from trino.auth import BasicAuthentication, JWTAuthentication

        secrets = self.configuration.secrets
        if token := secrets.get("token"):
            return JWTAuthentication(token)
        if password := secrets.get("password"):
            return BasicAuthentication(self.configuration.username or "", password)
        return None


def _session(scheme: str, host: str, port: int) -> Any:
    """Return a session of `requests` that can reach one server only.

    A Trino server names the address of each further request, which has the secret, too.
    """
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.adapters.clear()
    session.mount(f"{scheme}://{host}:{port}/", HTTPAdapter())
    if port == {"https": 443, "http": 80}[scheme]:
        session.mount(f"{scheme}://{host}/", HTTPAdapter())
    return session


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
