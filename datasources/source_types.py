"""The catalogue of what a data source can be: its port, its URL schemes, the fields it needs."""

from dataclasses import dataclass
from importlib.util import find_spec

from django.db import models

SECRET_FIELDS = (
    "password",
    "ssh_password",
    "ssh_private_key",
    "ssh_private_key_passphrase",
    "token",
    "service_account_json",
)
CREDENTIAL_FIELDS = ("username", *SECRET_FIELDS)


class DataSourceType(models.TextChoices):
    """The types by their names in the API; what each is like stands in `SOURCE_TYPES`."""

    POSTGRESQL = "postgresql", "PostgreSQL"
    REDSHIFT = "redshift", "Amazon Redshift"
    COCKROACHDB = "cockroachdb", "CockroachDB"
    MYSQL = "mysql", "MySQL"
    MARIADB = "mariadb", "MariaDB"
    MSSQL = "mssql", "Microsoft SQL Server"
    ORACLE = "oracle", "Oracle Database"
    CLICKHOUSE = "clickhouse", "ClickHouse"
    MONGODB = "mongodb", "MongoDB"
    SNOWFLAKE = "snowflake", "Snowflake"
    BIGQUERY = "bigquery", "Google BigQuery"
    TRINO = "trino", "Trino"
    DATABRICKS = "databricks", "Databricks"
    SQLITE = "sqlite", "SQLite file"
    DUCKDB = "duckdb", "DuckDB file"
    CSV = "csv", "CSV file"
    PARQUET = "parquet", "Parquet file"
    JSON = "json", "JSON file"


@dataclass(frozen=True)
class SourceType:
    """What the sources of one type have in common.

    `url_schemes` and `url_options` say which connection strings fit; options that would move the
    destination or read files of the server (`hostaddr`, `service`, `sslkey`, …) are left out on
    purpose. `driver` is the Python module that reaches such a source, `credential_fields` are those
    of `CREDENTIAL_FIELDS` that it can log in with.
    """

    driver: str
    required_fields: tuple[str, ...]
    optional_fields: tuple[str, ...] = ()
    credential_fields: tuple[str, ...] = ()
    default_port: int | None = None
    url_schemes: tuple[str, ...] = ()
    url_options: tuple[str, ...] = ()

    @property
    def fields(self) -> list[dict[str, object]]:
        """The fields its sources use, as `{"name", "required"}`."""
        return [{"name": name, "required": True} for name in self.required_fields] + [
            {"name": name, "required": False} for name in self.optional_fields
        ]

    @property
    def password_field(self) -> str | None:
        """The secret that stands in the place of a password in its connection strings."""
        candidates = (name for name in ("password", "token") if name in self.credential_fields)
        return next(candidates, None)

    @property
    def is_driver_installed(self) -> bool:
        """Whether the driver can be imported; it is not, to find out."""
        try:
            return find_spec(self.driver) is not None
        except ModuleNotFoundError:
            return False


_SERVER_FIELDS = ("schema_name", "connection_string", "port")
_SSH_SECRETS = ("ssh_password", "ssh_private_key", "ssh_private_key_passphrase")
_PASSWORD = ("username", "password")
_POSTGRESQL_SCHEMES = ("postgresql", "postgres")
_POSTGRESQL_OPTIONS = (
    "application_name",
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "sslmode",
    "target_session_attrs",
)
_MYSQL_OPTIONS = ("charset", "collation", "connect_timeout", "ssl_mode")


def _server(
    driver: str,
    port: int | None,
    schemes: tuple[str, ...],
    options: tuple[str, ...] = (),
    login: tuple[str, ...] = _PASSWORD,
) -> SourceType:
    return SourceType(
        driver,
        ("host", "database_name"),
        _SERVER_FIELDS,
        credential_fields=(*login, *_SSH_SECRETS),
        default_port=port,
        url_schemes=schemes,
        url_options=options,
    )


def _file(driver: str) -> SourceType:
    return SourceType(driver, ("file_path",))


SOURCE_TYPES: dict[str, SourceType] = {
    DataSourceType.POSTGRESQL: _server("psycopg", 5432, _POSTGRESQL_SCHEMES, _POSTGRESQL_OPTIONS),
    DataSourceType.REDSHIFT: _server(
        "psycopg", 5439, ("redshift", *_POSTGRESQL_SCHEMES), _POSTGRESQL_OPTIONS
    ),
    DataSourceType.COCKROACHDB: _server(
        "psycopg", 26257, ("cockroachdb", *_POSTGRESQL_SCHEMES), _POSTGRESQL_OPTIONS
    ),
    DataSourceType.MYSQL: _server("pymysql", 3306, ("mysql",), _MYSQL_OPTIONS),
    DataSourceType.MARIADB: _server("pymysql", 3306, ("mariadb", "mysql"), _MYSQL_OPTIONS),
    DataSourceType.MSSQL: _server(
        "pymssql", 1433, ("mssql", "sqlserver"), ("appname", "charset", "encryption")
    ),
    DataSourceType.ORACLE: _server("oracledb", 1521, ("oracle",), ("service_name", "sid")),
    DataSourceType.CLICKHOUSE: _server(
        "clickhouse_connect", 8123, ("clickhouse", "clickhouses"), ("compress", "secure")
    ),
    DataSourceType.MONGODB: _server(
        "pymongo",
        27017,
        ("mongodb", "mongodb+srv"),
        (
            "appName",
            "authMechanism",
            "authSource",
            "directConnection",
            "readPreference",
            "replicaSet",
            "retryWrites",
            "tls",
            "w",
        ),
    ),
    DataSourceType.SNOWFLAKE: _server(
        "snowflake", 443, ("snowflake",), ("role", "warehouse"), login=(*_PASSWORD, "token")
    ),
    DataSourceType.BIGQUERY: SourceType(
        "google.cloud.bigquery",
        ("database_name",),
        ("schema_name", "connection_string"),
        credential_fields=("service_account_json",),
        url_schemes=("bigquery",),
        url_options=("location",),
    ),
    DataSourceType.TRINO: _server(
        "trino", 8080, ("trino",), ("source",), login=(*_PASSWORD, "token")
    ),
    DataSourceType.DATABRICKS: _server(
        "databricks", 443, ("databricks",), ("catalog", "http_path", "schema"), login=("token",)
    ),
    DataSourceType.SQLITE: _file("sqlite3"),
    DataSourceType.DUCKDB: _file("duckdb"),
    DataSourceType.CSV: _file("duckdb"),
    DataSourceType.PARQUET: _file("duckdb"),
    DataSourceType.JSON: _file("duckdb"),
}
