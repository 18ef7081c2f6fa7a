"""The catalogues of files that DuckDB opens in the sandbox itself."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from datasources.connections.connectors.table_files import columns_of_parquet
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
