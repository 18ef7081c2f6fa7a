"""The catalogue of Trino."""

from typing import Any

from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

WANTED = """
table_schema <> 'information_schema'
AND table_schema = coalesce(CAST({schema} AS varchar), table_schema)
"""


class TrinoReader(SQLReader):
    """Trino: the `information_schema` of the source's catalog, which has no keys or indexes."""

    types = ("trino",)
    problem_without_columns = NO_COLUMNS
    placeholder = "?"
    relations_sql = f"""
SELECT table_schema, table_name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END,
    NULL, NULL
FROM information_schema.tables WHERE {WANTED}"""
    columns_sql = f"""
SELECT table_schema, table_name, column_name, data_type, is_nullable <> 'NO',
    column_default IS NOT NULL, NULL, column_default
FROM information_schema.columns WHERE {WANTED}
ORDER BY table_schema, table_name, ordinal_position"""
    schema_sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = {schema}"

    def execute(self, cursor: Any, statement: str) -> None:
        cursor.execute(statement, [self.schema])
