"""Tables, put together from the rows of a catalogue."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from datasources.schemas.reading.catalogue import Column, ForeignKey, Index, Key, PrimaryKey, Table
from datasources.schemas.reading.readers.base import Reader

COMMENT_MAX_LENGTH = 1_000
# There are few types in most sources.
TYPES_KEPT = 10_000
key_of: Callable[[Any], Key] = itemgetter(0, 1)


class Assembly:
    """The tables of one catalogue: `total` of them, to be taken one by one.

    All but the columns is read at once, to be there when the columns of a table come.
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
        """Give each table with its row estimate, in no order."""
        for key, rows in groupby(self._reader.columns(), key_of):
            # A table that was made after the relations were read is left to the next time.
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
        }
        return table, row_estimate

    def _column(self, row: Any) -> Column:
        _, _, name, source_type, nullable, has_default, comment = row
        return {
            "name": name,
            "type": source_type,
            "common_type": self._common_type(source_type),
            "nullable": bool(nullable),
            "has_default": bool(has_default),
            "comment": shortened(comment),
        }


def primary_keys(reader: Reader) -> dict[Key, PrimaryKey]:
    """Put the primary keys together."""
    found: dict[Key, PrimaryKey] = {}
    for schema, table, name, column in reader.primary_keys():
        key = found.setdefault((schema, table), {"name": name, "columns": []})
        key["columns"].append(column)
    return found


def foreign_keys(reader: Reader) -> dict[Key, list[ForeignKey]]:
    """Put the foreign keys together; one without a name has a number."""
    found: dict[Key, dict[Any, ForeignKey]] = defaultdict(dict)
    for schema, table, name, column, *referred, referred_column in reader.foreign_keys():
        referred_schema, referred_table = referred
        key = found[schema, table].setdefault(
            name,
            {
                "name": name if isinstance(name, str) else None,
                "columns": [],
                "referred_schema": referred_schema,
                "referred_table": referred_table,
                "referred_columns": [],
            },
        )
        key["columns"].append(column)
        key["referred_columns"].append(referred_column)
    return {
        table: sorted(keys.values(), key=lambda key: (key["name"] or "", key["columns"]))
        for table, keys in found.items()
    }


def indexes(reader: Reader) -> dict[Key, list[Index]]:
    """Put the indexes together."""
    found: dict[Key, dict[str, Index]] = defaultdict(dict)
    for schema, table, name, is_unique, column in reader.indexes():
        index = found[schema, table].setdefault(
            name, {"name": name, "columns": [], "is_unique": bool(is_unique)}
        )
        index["columns"].append(column)
    return {
        table: sorted(of_one.values(), key=itemgetter("name")) for table, of_one in found.items()
    }


def shortened(comment: str | None) -> str | None:
    """Give a comment as it is kept: an empty one is none, a long one is cut."""
    return comment[:COMMENT_MAX_LENGTH] if comment else None
