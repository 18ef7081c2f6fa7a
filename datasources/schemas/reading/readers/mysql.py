"""The catalogue of MySQL and MariaDB, where a schema is a database."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader


class MySQLReader(SQLReader):
    """MySQL and MariaDB: `information_schema`, restricted to one database."""

    types = ("mysql", "mariadb")
    common_types = {
        "bit": CommonType.BINARY,
        "timestamp": CommonType.TIMESTAMP_TZ,  # a point in time, shown in the session's time zone
        "tinyint(1)": CommonType.BOOLEAN,
    }
    # MySQL has the word VIEW in place of the comment of a view.
    relations_sql = """
SELECT table_schema, table_name, IF(table_type LIKE '%%VIEW', 'view', 'table'),
    IF(table_type LIKE '%%VIEW', NULL, table_comment), table_rows
FROM information_schema.tables
WHERE table_schema = {schema} AND table_type NOT IN ('SEQUENCE', 'TEMPORARY')"""
    # MariaDB has the text NULL where there is no default. Sorted by bytes, because a collation may
    # consider two names equal, whose columns would then be mixed.
    columns_sql = """
SELECT table_schema, table_name, column_name, column_type, is_nullable = 'YES',
    coalesce(column_default, 'NULL') <> 'NULL' OR extra LIKE '%%auto_increment%%'
        OR extra LIKE '%%GENERATED%%',
    column_comment
FROM information_schema.columns WHERE table_schema = {schema}
ORDER BY CAST(table_name AS BINARY), ordinal_position"""
    primary_keys_sql = """
SELECT table_schema, table_name, NULL, column_name
FROM information_schema.statistics WHERE table_schema = {schema} AND index_name = 'PRIMARY'
ORDER BY CAST(table_name AS BINARY), seq_in_index"""
    foreign_keys_sql = """
SELECT table_schema, table_name, constraint_name, column_name,
    referenced_table_schema, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = {schema} AND referenced_table_name IS NOT NULL
ORDER BY CAST(table_name AS BINARY), constraint_name, ordinal_position"""
    # Only MySQL has the text of expressions, in a column that MariaDB lacks.
    indexes_sql = """
SELECT table_schema, table_name, index_name, non_unique = 0, coalesce(column_name, '(expression)')
FROM information_schema.statistics WHERE table_schema = {schema} AND index_name <> 'PRIMARY'
ORDER BY CAST(table_name AS BINARY), index_name, seq_in_index"""
    schema_sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = {schema}"

    @property
    def schema(self) -> str | None:
        """The database to read."""
        return self.configuration.schema_name or self.configuration.database_name

    def columns(self) -> Iterable[Sequence[Any]]:
        """Return the columns by an unbuffered cursor, which blocks all other statements."""
        from pymysql.cursors import SSCursor

        return self.rows(self.columns_sql, SSCursor)

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type by the first word; for `tinyint(1)`, by the whole type."""
        lower = source_type.lower()
        return self.common_types.get(lower) or super().common_type(re.split("[ (]", lower)[0])
