"""The catalogue of ClickHouse, where a schema is a database."""

import re

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader

# Wrappers around a type that say how values are stored, or that they may be null. A type has three
# at most: SimpleAggregateFunction(any, LowCardinality(Nullable(String))).
WRAPPERS_MAX = 3
WRAPPED = re.compile(r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+, )?(.*)\)")


class ClickHouseReader(SQLReader):
    """ClickHouse: the tables of the database `system`."""

    types = ("clickhouse",)
    common_types = {
        # A point in time; the time zone is only for display.
        "datetime": CommonType.TIMESTAMP_TZ,
        "datetime64": CommonType.TIMESTAMP_TZ,
        "enum8": CommonType.STRING,
        "enum16": CommonType.STRING,
        "ipv4": CommonType.STRING,
        "ipv6": CommonType.STRING,
        "nested": CommonType.ARRAY,
    }
    relations_sql = """
SELECT database, name,
    multiIf(engine = 'View', 'view', engine = 'MaterializedView', 'materialized_view', 'table'),
    comment, total_rows
FROM system.tables WHERE database = {schema} AND NOT is_temporary"""
    columns_sql = """
SELECT database, table, name, type, match(type, '^(LowCardinality\\\\()?Nullable\\\\('),
    default_kind <> '', comment
FROM system.columns WHERE database = {schema} ORDER BY table, position"""
    primary_keys_sql = """
SELECT c.database, c.table, NULL, c.name
FROM system.columns AS c JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database = {schema} AND c.is_in_primary_key
ORDER BY c.table, indexOf(splitByString(', ', t.primary_key), c.name)"""
    # Data skipping indexes, the only ones besides the primary key.
    indexes_sql = """
SELECT database, table, name, 0, expr FROM system.data_skipping_indices
WHERE database = {schema} ORDER BY table, name"""
    schema_sql = "SELECT 1 FROM system.databases WHERE name = {schema}"

    @property
    def schema(self) -> str | None:
        """The database to read."""
        return self.configuration.schema_name or self.configuration.database_name

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type of what is inside `Nullable(…)` and other wrappers."""
        for _ in range(WRAPPERS_MAX):
            if wrapped := WRAPPED.fullmatch(source_type):
                source_type = wrapped[1]
        return super().common_type(source_type)
