"""Building tables from the rows that a reader gets from a catalogue."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, starmap
from operator import itemgetter
from typing import Any

from datasources.schemas.reading.catalogue import Column, ForeignKey, Index, Key, PrimaryKey, Table
from datasources.schemas.reading.readers.base import (
    ColumnRow,
    IndexRow,
    KeyRow,
    Reader,
    ReferenceRow,
)

COMMENT_MAX_LENGTH = 1_000
# Size of the cache of types; most sources have few.
TYPES_KEPT = 10_000
key_of: Callable[[Any], Key] = itemgetter(0, 1)


class Assembly:
    """The tables of one catalogue, `total` in number, built one by one.

    Everything but the columns is read first and held in memory; the columns are streamed.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._relations = {key_of(row): row for row in reader.relations()}
        self._primary_keys = primary_keys(reader)
        self._foreign_keys = foreign_keys(reader)
        self._indexes = indexes(reader)
        self._common_type = lru_cache(TYPES_KEPT)(reader.common_type)
        self.total = len(self._relations)

    def tables(self) -> Iterator[tuple[Table, int | None]]:
        """Yield each table with its row estimate, in no particular order."""
        for key, rows in groupby(self._reader.columns(), key_of):
            # A table that was created after the relations were read is left for the next refresh.
            if key in self._relations:
                yield self._table(key, [self._column(row) for row in rows])
        for key in [*self._relations]:  # PostgreSQL has tables without any column
            yield self._table(key, [])

    def _table(self, key: Key, columns: list[Column]) -> tuple[Table, int | None]:
        schema, name, kind, comment, row_estimate = self._relations.pop(key)
        table: Table = {
            "schema": schema,
            "name": name,
            "kind": kind,
            "comment": shortened(comment),
            "columns": columns,
            "primary_key": self._primary_keys.pop(key, None),
            "foreign_keys": self._foreign_keys.pop(key, []),
            "indexes": self._indexes.pop(key, []),
            "problem": self._reader.problems.get(key)
            or (None if columns else self._reader.problem_without_columns),
        }
        return table, row_estimate

    def _column(self, values: Sequence[Any]) -> Column:
        row = ColumnRow(*values)
        return {
            "name": row.name,
            "type": row.type,
            "common_type": self._common_type(row.type),
            "nullable": bool(row.nullable),
            "has_default": bool(row.has_default),
            "default_value": row.default,
            "comment": shortened(row.comment),
        }


def primary_keys(reader: Reader) -> dict[Key, PrimaryKey]:
    """Return the primary key of each table that has one."""
    found: dict[Key, PrimaryKey] = {}
    for row in starmap(KeyRow, reader.primary_keys()):
        key = found.setdefault(
            (row.schema, row.table),
            {"name": row.key, "columns": [], "options": row.options or None},
        )
        key["columns"].append(row.column)
    return found


def foreign_keys(reader: Reader) -> dict[Key, list[ForeignKey]]:
    """Return the foreign keys of each table; a reader numbers those without a name."""
    found: dict[Key, dict[Any, ForeignKey]] = defaultdict(dict)
    for row in starmap(ReferenceRow, reader.foreign_keys()):
        key = found[row.schema, row.table].setdefault(
            row.key,
            {
                "name": row.key if isinstance(row.key, str) else None,
                "columns": [],
                "referred_schema": row.referred_schema,
                "referred_table": row.referred_table,
                "referred_columns": [],
                "on_update": action(row.on_update),
                "on_delete": action(row.on_delete),
                "options": row.options or None,
            },
        )
        key["columns"].append(row.column)
        key["referred_columns"].append(row.referred_column)
    return {
        table: sorted(keys.values(), key=lambda key: (key["name"] or "", key["columns"]))
        for table, keys in found.items()
    }


def action(words: str | None) -> str | None:
    """Return the value of Action for the words of a source, such as `SET NULL`."""
    return re.sub(r"\W", "_", words).lower() if words else None


def indexes(reader: Reader) -> dict[Key, list[Index]]:
    """Return the indexes of each table, sorted by name."""
    found: dict[Key, dict[str, Index]] = defaultdict(dict)
    for row in starmap(IndexRow, reader.indexes()):
        index = found[row.schema, row.table].setdefault(
            row.index_name,
            {
                "name": row.index_name,
                "columns": [],
                "column_options": [],
                "is_unique": bool(row.is_unique),
                "method": row.method,
                "included_columns": [],
                "predicate": row.predicate or None,
                "options": row.options or None,
            },
        )
        if row.is_included:
            index["included_columns"].append(row.column)
        else:
            index["columns"].append(row.column)
            index["column_options"].append(row.column_option or "")
    return {
        table: sorted(by_name.values(), key=itemgetter("name")) for table, by_name in found.items()
    }


def shortened(comment: str | None) -> str | None:
    """Return a comment cut to `COMMENT_MAX_LENGTH`; None if it is empty."""
    return comment[:COMMENT_MAX_LENGTH] if comment else None
