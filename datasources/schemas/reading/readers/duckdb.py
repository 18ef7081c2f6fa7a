"""The catalogue of a DuckDB file."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

WANTED = "database_name = 'data' AND coalesce($schema, schema_name) = schema_name"
# DuckDB makes up the names of constraints, and may make up one twice.
NUMBERED = f"""
(SELECT *, constraint_name || CASE WHEN number = 1 THEN '' ELSE (number - 1)::VARCHAR END AS name
FROM (SELECT *, row_number() OVER (PARTITION BY schema_name, table_name, constraint_name
    ORDER BY constraint_index) AS number
FROM duckdb_constraints() WHERE {WANTED} AND constraint_type = '{{type}}'))"""
NAME = r'(?:"(?:[^"]|"")*"|[^\s".(]+)'
METHOD = re.compile(rf"CREATE (?:UNIQUE )?INDEX {NAME} ON (?:{NAME}\.)*{NAME}\s*USING (\w+)")
OPTIONS = re.compile(r"\)\s*(WITH\s*\([^()]*\));\Z")
QUOTED = re.compile(r'"(?:[^"]|"")*"')


class DuckDBReader(SQLReader):
    """DuckDB: the file is attached as the database `data`."""

    types = ("duckdb",)
    problem_without_columns = NO_COLUMNS
    placeholder = "$schema"
    common_types = {
        '"null"': CommonType.OTHER,
        "bignum": CommonType.INTEGER,
        "bit": CommonType.BINARY,
        "geometry": CommonType.OTHER,
        "time_ns": CommonType.TIME,
        "timestamptz_ns": CommonType.TIMESTAMP_TZ,
        "union": CommonType.OTHER,
    }
    relations_sql = f"""
SELECT schema_name, table_name, 'table', comment, estimated_size FROM duckdb_tables()
WHERE {WANTED}
UNION ALL
SELECT schema_name, view_name, 'view', comment, NULL FROM duckdb_views()
WHERE {WANTED} AND NOT internal"""
    columns_sql = f"""
SELECT schema_name, table_name, column_name, data_type, is_nullable,
    column_default IS NOT NULL OR is_generated, comment,
    CASE WHEN is_generated THEN 'GENERATED ALWAYS AS (' || generation_expression || ')'
        ELSE column_default END
FROM duckdb_columns()
WHERE {WANTED} AND NOT internal
ORDER BY table_oid, column_index"""
    primary_keys_sql = f"""
SELECT schema_name, table_name, constraint_name, unnest(constraint_column_names)
FROM duckdb_constraints() WHERE {WANTED} AND constraint_type = 'PRIMARY KEY'"""
    # DuckDB has no other action.
    foreign_keys_sql = f"""
SELECT schema_name, table_name, name, unnest(constraint_column_names),
    schema_name, referenced_table, unnest(referenced_column_names), 'NO ACTION', 'NO ACTION'
FROM {NUMBERED.format(type="FOREIGN KEY")}"""
    indexes_sql = f"""
SELECT schema_name, table_name, index_name, is_unique, unnest(expressions::VARCHAR[]), sql
FROM duckdb_indexes() WHERE {WANTED} AND NOT is_primary"""
    unique_sql = f"""
SELECT schema_name, table_name, name, unnest(constraint_column_names)
FROM {NUMBERED.format(type="UNIQUE")}"""
    schema_sql = (
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = 'data' AND schema_name = $schema"
    )

    def indexes(self) -> Iterator[Sequence[Any]]:
        names = set()
        for schema, table, index, is_unique, expression, text in self.rows(self.indexes_sql):
            names.add((schema, table, index))
            method, options = METHOD.match(text), OPTIONS.search(text)
            yield (
                *(schema, table, index, is_unique, without_quotes(expression), None, False),
                *(method[1].upper() if method else "ART", None, options[1] if options else None),
            )
        for schema, table, name, column in self.rows(self.unique_sql):
            # An index may have the name that DuckDB makes up for a constraint.
            while (schema, table, name) in names:
                name += "_"
            yield schema, table, name, True, column, None, False, "ART"


def without_quotes(expression: str) -> str:
    """Return the name of a column without its quotes, any other expression as it is."""
    if QUOTED.fullmatch(expression):
        return expression[1:-1].replace('""', '"')
    return expression
