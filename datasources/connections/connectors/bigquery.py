"""Google BigQuery; its driver is in requirements-cloud.txt."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from datasources.connections.causes import network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import Connector, fetch_value, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.url_options.option import (
    Options,
    flag,
    hint,
    number,
    options_of,
    text,
)

API = "https://bigquery.googleapis.com"
TOKEN_URI = "https://oauth2.googleapis.com/token"
SCOPES = ("https://www.googleapis.com/auth/bigquery",)

# Only these fields of a key are used: `token_uri` and `universe_domain` could name other hosts.
KEY_FIELDS = ("client_email", "private_key", "private_key_id", "project_id")

CODES: dict[object, Code] = {
    "accessDenied": Code.DATABASE_FORBIDDEN,
    **dict.fromkeys(("quotaExceeded", "rateLimitExceeded", "backendError"), Code.SERVER_BUSY),
    401: Code.LOGIN_FAILED,
    403: Code.DATABASE_FORBIDDEN,
    404: Code.DATABASE_MISSING,
    **dict.fromkeys((429, 500, 503), Code.SERVER_BUSY),
}
STATEMENT_CODES = CODES | {
    "timeout": Code.QUERY_TIMEOUT,
    **dict.fromkeys(("accessDenied", 403), Code.PERMISSION_DENIED),
}

PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z0-9-]+")


class BigQuery(Connector):
    """Google BigQuery, over its REST API. The database is a project.

    No dialect: SQLAlchemy's looks for credentials in the environment before it asks for a
    connection.
    """

    name = "bigquery"
    label = "Google BigQuery"
    driver = "google.cloud.bigquery"
    required_fields = ("database_name",)
    optional_fields = ("schema_name", "connection_string")
    credential_fields = ("service_account_json",)
    required_credentials = ("service_account_json",)
    statement_codes = STATEMENT_CODES
    url_schemes: ClassVar[Mapping[str, str]] = {"bigquery": "bigquery"}
    url_options = Options(
        {"location": text("[A-Za-z0-9-]{1,40}", "a location, such as EU")}
        | options_of(hint(number()), "arraysize list_tables_page_size")
        | options_of(hint(flag()), "use_query_cache")
    )

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields: a URL is `bigquery://project/dataset`, and names no host.

        Raises ValidationError (400) if it names a table, too.
        """
        database, schema = url["host"], (url["database_name"] or "").removesuffix("/") or None
        if "/" in (schema or ""):
            raise ValidationError("Must be bigquery://project/dataset, without a table.")
        return url | {"host": None, "database_name": database, "schema_name": schema}

    @classmethod
    def further_ports(cls, configuration: Configuration) -> tuple[int, ...]:
        """Return the port of Google's APIs."""
        return (443,)

    def log_in(self) -> Any:
        """Return a DB-API connection, after a request that needs a token and the project."""
        remove_driver_variables()
        from google.cloud import bigquery
        from google.cloud.bigquery import dbapi

        configuration = self.configuration
        project = configuration.database_name or ""
        if not PROJECT.fullmatch(project):
            raise ConnectionFailure(Code.DATABASE_MISSING)
        session = self._session()
        client = bigquery.Client(
            project=project,
            credentials=session.credentials,
            _http=session,
            location=configuration.options.get("location"),
            client_options={"api_endpoint": API},
            default_query_job_config=bigquery.QueryJobConfig(
                job_timeout_ms=configuration.query_timeout * 1000,
            ),
        )
        datasets = client.list_datasets(
            max_results=1, retry=None, timeout=configuration.connection_timeout
        )
        next(iter(datasets), None)  # sends the request
        return dbapi.connect(client, prefer_bqstorage_client=False)

    def read_version(self, connection: Any) -> str:
        """Run a query. Return the name alone: BigQuery has no version."""
        fetch_value(connection, "SELECT 1")
        return one_line(self.label)

    def explain(self, error: Exception) -> Code:
        """Return the code for the HTTP status, otherwise for the network error."""
        code = self.code_by_number(error, CODES) or network_cause(error)
        return code or Code.LOGIN_FAILED  # for example, Google gives no token for the key

    def numbers_of(self, error: BaseException) -> Iterator[object]:
        """Yield the reasons that Google's API gives, and the HTTP status."""
        for one in getattr(error, "errors", ()):
            if isinstance(one, dict):
                yield one.get("reason")
        yield getattr(error, "code", None)

    def _session(self) -> Any:
        """Return a session of `requests` that gets tokens from Google and follows no redirect."""
        import requests
        from google.auth.transport.requests import AuthorizedSession, Request
        from google.oauth2.service_account import Credentials

        tokens = requests.Session()
        credentials = Credentials.from_service_account_info(self._key(), scopes=SCOPES)
        session = AuthorizedSession(
            credentials,
            auth_request=Request(tokens),
            refresh_timeout=self.configuration.connection_timeout,
        )
        for each in (tokens, session):
            each.trust_env = False
            each.max_redirects = 0
        return session

    def _key(self) -> dict[str, str]:
        """Return the key of a service account. Other types of keys read files or run programs."""
        given = json.loads(self.configuration.secrets["service_account_json"])
        if not isinstance(given, dict) or given.get("type") != "service_account":
            raise ConnectionFailure(Code.LOGIN_FAILED)
        if given.get("token_uri", TOKEN_URI) != TOKEN_URI:
            raise ConnectionFailure(Code.LOGIN_FAILED)
        return {name: given[name] for name in KEY_FIELDS if name in given} | {
            "token_uri": TOKEN_URI
        }
