"""The catalogues of files that DuckDB opens in the sandbox itself."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from datasources.connections.files.storage import FILE_URL
from datasources.schemas.reading.catalogue import Kind
from datasources.schemas.reading.readers.base import Reader
from datasources.schemas.reading.readers.duckdb import DuckDBReader


class TableFileReader(Reader):
    """A file that is one table: the view `data`, with the types that DuckDB detected."""

    types: ClassVar[tuple[str, ...]] = ("csv", "json")
    common_types = DuckDBReader.common_types

    def relations(self) -> Iterable[Sequence[Any]]:
        return [("main", "data", Kind.FILE, None, self.row_count())]

    def columns(self) -> Iterator[Sequence[Any]]:
        required = self.required_columns()
        for name, source_type, *_ in self.connection.execute("DESCRIBE data").fetchall():
            yield "main", "data", name, source_type, name not in required, False, None

    def row_count(self) -> int | None:
        """Return the number of rows, if the file states it."""
        return None

    def required_columns(self) -> set[str]:
        """Return the columns that cannot be null, as far as the file states it."""
        return set()


class ParquetReader(TableFileReader):
    """A Parquet file, whose metadata states the number of rows and the required columns."""

    types = ("parquet",)

    def row_count(self) -> int | None:
        rows = self._ask(f"SELECT sum(num_rows) FROM parquet_file_metadata('{FILE_URL}')")
        return int(rows[0][0])

    def required_columns(self) -> set[str]:
        """Return the REQUIRED columns; the schema is a tree, each node before its children."""
        statement = f"SELECT name, repetition_type, num_children FROM parquet_schema('{FILE_URL}')"
        required = set()
        open_children: list[int] = []
        for name, repetition, children in self._ask(statement):
            if len(open_children) == 1 and repetition == "REQUIRED":
                required.add(name)
            if open_children:
                open_children[-1] -= 1
            open_children.append(children or 0)
            while open_children and not open_children[-1]:
                open_children.pop()
        return required

    def _ask(self, statement: str) -> list[Any]:
        rows: list[Any] = self.connection.execute(statement).fetchall()
        return rows
