"""The catalogue of Snowflake."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

WANTED = """
CASE WHEN {schema} IS NULL THEN table_schema <> 'INFORMATION_SCHEMA'
ELSE table_schema = {schema} END
"""
TYPE = """
data_type || CASE
    WHEN data_type = 'NUMBER' THEN '(' || numeric_precision || ',' || numeric_scale || ')'
    WHEN data_type IN ('BINARY', 'TEXT') AND character_maximum_length IS NOT NULL
        THEN '(' || character_maximum_length || ')'
    WHEN (data_type = 'TIME' OR data_type LIKE 'TIMESTAMP%%') AND datetime_precision IS NOT NULL
        THEN '(' || datetime_precision || ')'
    ELSE '' END
"""


class SnowflakeReader(SQLReader):
    """Snowflake: the `INFORMATION_SCHEMA` of the session's database. There are no indexes."""

    types = ("snowflake",)
    problem_without_columns = NO_COLUMNS
    common_types = {
        "decfloat": CommonType.DECIMAL,
        "geography": CommonType.OTHER,
        "geometry": CommonType.OTHER,
        "text": CommonType.STRING,
        "vector": CommonType.ARRAY,
    }
    relations_sql = f"""
SELECT table_schema, table_name, CASE table_type WHEN 'VIEW' THEN 'view'
    WHEN 'MATERIALIZED VIEW' THEN 'materialized_view'
    WHEN 'EXTERNAL TABLE' THEN 'foreign_table' ELSE 'table' END, comment, row_count
FROM information_schema.tables WHERE {WANTED}"""
    columns_sql = f"""
SELECT table_schema, table_name, column_name, {TYPE}, is_nullable = 'YES',
    column_default IS NOT NULL OR is_identity = 'YES', comment,
    CASE is_identity WHEN 'YES' THEN 'IDENTITY(' || identity_start || ',' || identity_increment
        || ')' ELSE column_default END
FROM information_schema.columns WHERE {WANTED}
ORDER BY table_schema, table_name, ordinal_position"""
    schema_sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = {schema}"

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        names = ("schema_name", "table_name", "constraint_name", "column_name")
        for row in self.shown("SHOW PRIMARY KEYS IN DATABASE"):
            yield tuple(row[name] for name in names)

    def foreign_keys(self) -> Iterator[Sequence[Any]]:
        names = (
            *("fk_schema_name", "fk_table_name", "fk_name", "fk_column_name"),
            *("pk_schema_name", "pk_table_name", "pk_column_name"),
        )
        for row in self.shown("SHOW IMPORTED KEYS IN DATABASE"):
            deferrability = row.get("deferrability")
            options = None if deferrability == "NOT DEFERRABLE" else deferrability
            yield (
                *(row[name] for name in names),
                *(row.get("update_rule"), row.get("delete_rule"), options),
            )

    def shown(self, statement: str) -> list[Mapping[str, Any]]:
        """Return the rows of a SHOW statement as dicts, sorted by `key_sequence`."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return sorted(rows, key=lambda row: int(row["key_sequence"]))

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type; a NUMBER with scale 0 is an integer."""
        if source_type.startswith("NUMBER(") and source_type.endswith(",0)"):
            return CommonType.INTEGER
        return super().common_type(source_type)
