"""The catalogues of files, which SQLite or DuckDB opens in the sandbox itself."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from sqlite3 import OperationalError
from typing import Any, ClassVar

from datasources.connections.connectors.table_files import columns_of_parquet
from datasources.connections.files.storage import FILE_URL
from datasources.schemas.reading.catalogue import Kind
from datasources.schemas.reading.common_types import CommonType, common_type
from datasources.schemas.reading.readers.base import Reader, SQLReader

# SQLite finds the affinity of a type by a part of its name (Datatypes In SQLite, section 3.1).
AFFINITIES = (
    ("INT", CommonType.INTEGER),
    ("CHAR", CommonType.STRING),
    ("CLOB", CommonType.STRING),
    ("TEXT", CommonType.STRING),
    ("BLOB", CommonType.BINARY),
    ("REAL", CommonType.FLOAT),
    ("FLOA", CommonType.FLOAT),
    ("DOUB", CommonType.FLOAT),
)
# Leaves out the internal tables of SQLite and its modules.
SQLITE_TABLES = """
pragma_table_list AS t WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND t.type IN """
SQLITE_COLUMN = """
SELECT 'main', {table}, c.name, c.type, c."notnull" = 0 AND c.pk = 0,
    c.dflt_value IS NOT NULL OR c.hidden IN (2, 3), NULL
FROM {source} c"""


class SQLiteReader(SQLReader):
    """SQLite: the tables of `main`, the only schema."""

    types = ("sqlite",)
    placeholder = ":schema"
    relations_sql = f"""
SELECT 'main', t.name, iif(t.type = 'view', 'view', 'table'), NULL, NULL
FROM {SQLITE_TABLES} ('table', 'view', 'virtual')"""
    primary_keys_sql = f"""
SELECT 'main', t.name, NULL, c.name
FROM (SELECT * FROM {SQLITE_TABLES} ('table')) t, pragma_table_xinfo(t.name) c
WHERE c.pk > 0 ORDER BY t.name, c.pk"""
    # A foreign key that names no columns refers to the primary key.
    foreign_keys_sql = f"""
SELECT 'main', t.name, k.id, k."from", 'main', k."table",
    coalesce(k."to", (SELECT c.name FROM pragma_table_xinfo(k."table") c WHERE c.pk = k.seq + 1),
    '')
FROM (SELECT * FROM {SQLITE_TABLES} ('table')) t, pragma_foreign_key_list(t.name) k
ORDER BY t.name, k.id, k.seq"""
    indexes_sql = f"""
SELECT 'main', t.name, i.name, i."unique", coalesce(c.name, '(expression)')
FROM (SELECT * FROM {SQLITE_TABLES} ('table')) t, pragma_index_list(t.name) i,
    pragma_index_xinfo(i.name) c
WHERE i.origin <> 'pk' AND c.key ORDER BY t.name, i.name, c.seqno"""
    columns_sql = (
        SQLITE_COLUMN.format(
            table="t.name",
            source=f"(SELECT * FROM {SQLITE_TABLES} ('table', 'virtual')) t,"
            " pragma_table_xinfo(t.name)",
        )
        + " WHERE c.hidden <> 1 ORDER BY t.name, c.cid"
    )
    view_columns_sql = SQLITE_COLUMN.format(table=":view", source="pragma_table_xinfo(:view)")
    views_sql = f"SELECT t.name FROM {SQLITE_TABLES} ('view')"
    statistics_sql = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl"

    def relations(self) -> Iterable[Sequence[Any]]:
        try:
            estimates = dict(self.connection.execute(self.statistics_sql).fetchall())
        except OperationalError:  # sqlite_stat1 does not exist before the first ANALYZE
            estimates = {}
        for schema, name, kind, comment, _ in super().relations():
            yield schema, name, kind, comment, estimates.get(name)

    def columns(self) -> Iterator[Sequence[Any]]:
        yield from super().columns()
        for (view,) in self.connection.execute(self.views_sql).fetchall():
            yield from self.view_columns(view)

    def view_columns(self, view: str) -> list[Sequence[Any]]:
        """Return the columns of a view; none if it refers to a dropped table."""
        try:
            rows: list[Sequence[Any]] = self.connection.execute(
                self.view_columns_sql, {"view": view}
            ).fetchall()
        except OperationalError:
            return []
        return rows

    def common_type(self, source_type: str) -> CommonType:
        found = common_type(source_type, {})
        if found != CommonType.OTHER:
            return found
        upper = source_type.upper()
        return next((affinity for part, affinity in AFFINITIES if part in upper), CommonType.OTHER)


class DuckDBReader(SQLReader):
    """DuckDB: the file is attached as the database `data`."""

    types = ("duckdb",)
    placeholder = "$schema"
    common_types = {"bit": CommonType.BINARY, "union": CommonType.OTHER}
    relations_sql = """
SELECT schema_name, table_name, 'table', comment, estimated_size FROM duckdb_tables()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name
UNION ALL
SELECT schema_name, view_name, 'view', comment, NULL FROM duckdb_views()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name AND NOT internal"""
    columns_sql = """
SELECT schema_name, table_name, column_name, data_type, is_nullable,
    column_default IS NOT NULL OR is_generated, comment
FROM duckdb_columns()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name AND NOT internal
ORDER BY table_oid, column_index"""
    primary_keys_sql = """
SELECT schema_name, table_name, constraint_name, unnest(constraint_column_names)
FROM duckdb_constraints()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name
AND constraint_type = 'PRIMARY KEY'"""
    foreign_keys_sql = """
SELECT schema_name, table_name, constraint_name, unnest(constraint_column_names),
    schema_name, referenced_table, unnest(referenced_column_names)
FROM duckdb_constraints()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name
AND constraint_type = 'FOREIGN KEY'"""
    indexes_sql = """
SELECT schema_name, table_name, index_name, is_unique,
    regexp_replace(unnest(expressions::VARCHAR[]), '^"([^"]*)"$', '\\1')
FROM duckdb_indexes()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name AND NOT is_primary
UNION ALL
SELECT schema_name, table_name, constraint_name, true, unnest(constraint_column_names)
FROM duckdb_constraints()
WHERE database_name = 'data' AND coalesce($schema, schema_name) = schema_name
AND constraint_type = 'UNIQUE'"""
    schema_sql = (
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = 'data' AND schema_name = $schema"
    )


class TableFileReader(Reader):
    """A file that is one table: the view `data`, with the types that DuckDB detected."""

    types: ClassVar[tuple[str, ...]] = ("csv", "json")
    common_types = DuckDBReader.common_types

    def relations(self) -> Iterable[Sequence[Any]]:
        return [("main", "data", Kind.FILE, None, self.row_count())]

    def columns(self) -> Iterator[Sequence[Any]]:
        rows = self.connection.execute("DESCRIBE data").fetchall()
        for (name, source_type, *_), is_required in zip_longest(rows, self.required()):
            yield "main", "data", name, source_type, not is_required, False, None

    def row_count(self) -> int | None:
        """Return the number of rows, if the file states it."""
        return None

    def required(self) -> list[bool]:
        """Return for each column whether it cannot be null, if the file states it."""
        return []


class ParquetReader(TableFileReader):
    """A Parquet file, whose metadata states the number of rows and the required columns."""

    types = ("parquet",)

    def row_count(self) -> int | None:
        statement = f"SELECT sum(num_rows) FROM parquet_file_metadata('{FILE_URL}')"
        return int(self.connection.execute(statement).fetchall()[0][0])

    def required(self) -> list[bool]:
        return [is_required for _, is_required in columns_of_parquet(self.connection)]
