"""The catalogue of BigQuery, where a schema is a dataset."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

# The name is put into statements in backticks, so nothing else is allowed in it.
DATASET = re.compile(r"[A-Za-z0-9_-]+")


class BigQueryReader(SQLReader):
    """BigQuery: the `INFORMATION_SCHEMA` of each dataset, whatever its region.

    The number of statements grows with the number of datasets. BigQuery has only search indexes,
    which are left out.
    """

    types = ("bigquery",)
    problem_without_columns = NO_COLUMNS
    common_types = {
        "timestamp": CommonType.TIMESTAMP_TZ,
        "geography": CommonType.OTHER,
        "range": CommonType.OBJECT,
    }
    relations_sql = """
SELECT t.table_schema, t.table_name, CASE t.table_type WHEN 'VIEW' THEN 'view'
    WHEN 'MATERIALIZED VIEW' THEN 'materialized_view'
    WHEN 'EXTERNAL' THEN 'foreign_table' ELSE 'table' END,
    trim(o.option_value, '"'), r.row_count
FROM {dataset}.INFORMATION_SCHEMA.TABLES t
LEFT JOIN {dataset}.INFORMATION_SCHEMA.TABLE_OPTIONS o
    ON o.table_name = t.table_name AND o.option_name = 'description'
LEFT JOIN {dataset}.__TABLES__ r ON r.table_id = t.table_name AND r.type = 1"""
    columns_sql = """
SELECT c.table_schema, c.table_name, c.column_name, c.data_type, c.is_nullable = 'YES',
    coalesce(c.column_default, 'NULL') <> 'NULL', f.description, nullif(c.column_default, 'NULL')
FROM {dataset}.INFORMATION_SCHEMA.COLUMNS c
LEFT JOIN {dataset}.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS f
    ON f.table_name = c.table_name AND f.field_path = c.column_name
ORDER BY c.table_name, c.ordinal_position"""
    primary_keys_sql = """
SELECT k.table_schema, k.table_name, NULL, k.column_name
FROM {dataset}.INFORMATION_SCHEMA.KEY_COLUMN_USAGE k
WHERE k.position_in_unique_constraint IS NULL
ORDER BY k.table_name, k.ordinal_position"""

    def rows(self, statement: str | None, *cursor_type: Any) -> Iterator[Sequence[Any]]:
        """Run a statement for each dataset, and yield the rows."""
        if statement is not None:
            for dataset in self.datasets():
                yield from super().rows(statement.replace("{dataset}", f"`{dataset}`"))

    def datasets(self) -> list[str]:
        """Return the names of the datasets to read."""
        if self.schema is not None:
            return [self.schema] if DATASET.fullmatch(self.schema) else []
        client = self.connection._client
        names = [dataset.dataset_id for dataset in client.list_datasets()]
        return [name for name in names if DATASET.fullmatch(name)]

    def has_schema(self) -> bool:
        """Return whether the name is valid; if the dataset is missing, statements fail anyway."""
        return self.schema is None or bool(self.datasets())

    def execute(self, cursor: Any, statement: str) -> None:
        cursor.execute(statement)
