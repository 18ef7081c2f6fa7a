"""The catalogue of a SQLite file."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from datasources.schemas.reading.common_types import CommonType, common_type
from datasources.schemas.reading.readers.base import SQLReader
from datasources.schemas.reading.sqlite_text import (
    deferrable_keys,
    generated_columns,
    has_word,
    index_of,
    module_of,
)

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
SHAPES = ("POINT", "MULTIPOINT")
# Leaves out the internal tables of SQLite and its modules.
ALL_TABLES = """
pragma_table_list AS t WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND t.type IN """
# SQLite asks Python whether it may read about a table, and Python cannot decode other names.
TABLES = ALL_TABLES.replace("WHERE", "WHERE is_text(CAST(t.name AS BLOB)) AND")
# Only a key without an index of its own, which is the row's number, refuses nulls by itself.
COLUMN = """
SELECT 'main', {table}, c.name, c.type, c."notnull" = 0 AND (c.pk = 0 OR EXISTS (
    SELECT 1 FROM pragma_index_list({table}) i WHERE i.origin = 'pk')), c.dflt_value, c.hidden
FROM {source} c"""
# Errors that do not come from the table that is read, but end the refresh.
TEMPORARY_ERRORS = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR)
BROKEN_TABLE = "SQLite cannot read the definition of this object in the file."
NOT_UTF_8 = "The name is not UTF-8, so nothing can be read about it."
BROKEN_VIEW = "The view refers to something that does not exist, or that only another program has."


class SQLiteReader(SQLReader):
    """SQLite: the tables of `main`, the only schema.

    Each view and each virtual table takes a statement, because one that is broken would end it.
    """

    types = ("sqlite",)
    placeholder = ":schema"
    relations_sql = f"""
SELECT 'main', t.name, iif(t.type = 'view', 'view', 'table'), NULL,
    is_text(CAST(t.name AS BLOB))
FROM {ALL_TABLES} ('table', 'view', 'virtual')"""
    # The definitions that SQLite could not parse.
    malformed_sql = """
SELECT 'main', s.name, iif(s.type = 'view', 'view', 'table'), NULL, NULL FROM sqlite_schema s
WHERE s.type IN ('table', 'view') AND typeof(s.name) = 'text' AND s.name <> ''
    AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND lower(s.name) NOT IN
    (SELECT lower(t.name) FROM pragma_table_list t WHERE t.schema = 'main')"""
    definitions_sql = "SELECT s.type, s.name, s.sql FROM sqlite_schema s WHERE s.sql IS NOT NULL"
    keys_sql = f"""
SELECT 'main', t.name, i.name, i."unique", i.origin, c.cid, c.name, c."desc", c.coll
FROM (SELECT * FROM {TABLES} ('table')) t, pragma_index_list(t.name) i,
    pragma_index_xinfo(i.name) c
WHERE c.key AND is_text(CAST(i.name AS BLOB)) ORDER BY t.name, i.name, c.seqno"""
    primary_keys_sql = f"""
SELECT 'main', t.name, NULL, c.name, t.wr
FROM (SELECT * FROM {TABLES} ('table')) t, pragma_table_xinfo(t.name) c
WHERE c.pk > 0 ORDER BY t.name, c.pk"""
    # A foreign key that names no columns refers to the primary key.
    foreign_keys_sql = f"""
SELECT 'main', t.name, k.id, k."from", 'main', k."table",
    coalesce(k."to", (SELECT c.name FROM pragma_table_xinfo(k."table") c WHERE c.pk = k.seq + 1),
    ''), k.on_update, k.on_delete
FROM (SELECT * FROM {TABLES} ('table')) t, pragma_foreign_key_list(t.name) k
ORDER BY t.name, k.id, k.seq"""
    columns_sql = (
        COLUMN.format(
            table="t.name",
            source=f"(SELECT * FROM {TABLES} ('table')) t, pragma_table_xinfo(t.name)",
        )
        + " WHERE c.hidden <> 1 ORDER BY t.name, c.cid"
    )
    object_columns_sql = (
        COLUMN.format(table=":name", source="pragma_table_xinfo(:name)") + " WHERE c.hidden <> 1"
    )
    objects_sql = f"SELECT t.name, t.type FROM {TABLES} ('view', 'virtual')"
    statistics_sql = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl"

    def relations(self) -> Iterable[Sequence[Any]]:
        self.connection.create_function("is_text", 1, self._test_of_text(), deterministic=True)
        try:
            estimates = dict(self.connection.execute(self.statistics_sql).fetchall())
        except sqlite3.OperationalError:  # sqlite_stat1 does not exist before the first ANALYZE
            estimates = {}
        for schema, name, kind, comment, is_text in super().relations():
            if not is_text:
                self.problems[schema, name] = NOT_UTF_8
            yield schema, name, kind, comment, estimates.get(name)
        for row in self.rows(self.malformed_sql):
            self.problems[row[0], row[1]] = BROKEN_TABLE
            yield row

    def _test_of_text(self) -> Callable[[bytes], bool]:
        """Return a function that tells whether text of the file can be decoded."""
        [[encoding]] = self.connection.execute("PRAGMA encoding").fetchall()
        return is_utf_8 if encoding == "UTF-8" else bool  # SQLite itself decodes UTF-16

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        orders: dict[str, list[str]] = defaultdict(list)
        for _, table, _, _, origin, _, column, *order in self._keys:
            if origin == "pk":
                orders[table].append(f"{column} {ordered(*order)}".rstrip())
        for schema, table, key, column, without_rowid in self.rows(self.primary_keys_sql):
            listed = ", ".join(orders[table])
            options = [f"({listed})"] if "DESC" in listed or "COLLATE" in listed else []
            if without_rowid:
                options.append("WITHOUT ROWID")
            if has_word(self._definitions.get(table, ""), "AUTOINCREMENT"):
                options.append("AUTOINCREMENT")
            yield schema, table, key, column, " ".join(options)

    def foreign_keys(self) -> Iterator[Sequence[Any]]:
        rows = [*self.rows(self.foreign_keys_sql)]
        counts = {row[1]: 0 for row in rows}
        for row in rows:
            counts[row[1]] = max(counts[row[1]], row[2] + 1)
        options: dict[str, list[str | None]] = {}
        for table, count in counts.items():
            definition = self._definitions.get(table, "")
            if "DEFERRABLE" in definition.upper():
                # SQLite numbers the last key first.
                found = deferrable_keys(definition)[::-1]
                options[table] = found if len(found) == count else []
        for row in rows:
            yield *row, dict(enumerate(options.get(row[1], ()))).get(row[2])

    def indexes(self) -> Iterator[Sequence[Any]]:
        texts: dict[str, tuple[list[str], str | None]] = {}
        places: dict[str, int] = defaultdict(int)
        for schema, table, index, is_unique, origin, place, column, *order in self._keys:
            if origin == "pk":
                continue
            if index not in texts:
                texts[index] = index_of(self._index_definitions.get(index, ""))
            expressions, predicate = texts[index]
            if place == -2 and places[index] < len(expressions):
                column = expressions[places[index]]
            places[index] += 1
            row = (schema, table, index, is_unique, column or "(expression)", ordered(*order))
            yield *row, False, None, predicate

    def columns(self) -> Iterator[Sequence[Any]]:
        for row in self.rows(self.columns_sql):
            yield self._column(row)
        for name, kind in self.connection.execute(self.objects_sql).fetchall():
            yield from map(self._column, self._columns_of(name, kind))

    def _columns_of(self, name: str, kind: str) -> list[Sequence[Any]]:
        """Return the columns of a view or virtual table; none if it is broken, with the problem."""
        try:
            rows: list[Sequence[Any]] = self.connection.execute(
                self.object_columns_sql, {"name": name}
            ).fetchall()
        except sqlite3.DatabaseError as error:
            # An error is the lowest byte of its code.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in TEMPORARY_ERRORS:
                raise
            rows = []
            self.problems["main", name] = self._problem_of(name, kind)
        return rows

    def _problem_of(self, name: str, kind: str) -> str:
        if kind == "view":
            return BROKEN_VIEW
        module = module_of(self._definitions.get(name, ""))
        names = self.connection.execute("SELECT lower(name) FROM pragma_module_list").fetchall()
        if (module.lower(),) in names:
            return f"The module {module} of SQLite cannot open this virtual table."
        return f"The virtual table needs the module {module}, which rivergen does not have."

    def _column(self, row: Sequence[Any]) -> Sequence[Any]:
        schema, table, name, source_type, nullable, default, hidden = row
        if hidden in (2, 3):
            expression = self._generated(table).get(name, "(expression)")
            default = f"GENERATED ALWAYS AS {expression} {'VIRTUAL' if hidden == 2 else 'STORED'}"
        return schema, table, name, source_type, nullable, default is not None, None, default

    def _generated(self, table: str) -> dict[str, str]:
        """Return the expressions of the generated columns of a table."""
        if self._generated_of[0] != table:
            definition = self._definitions.get(table, "")
            self._generated_of = (table, generated_columns(definition))
        return self._generated_of[1]

    _generated_of: tuple[str, dict[str, str]] = ("", {})

    @cached_property
    def _keys(self) -> list[Sequence[Any]]:
        """The columns and expressions of all indexes."""
        return [*self.rows(self.keys_sql)]

    @cached_property
    def _definitions(self) -> dict[str, str]:
        """The text of the definition of each table and view."""
        rows = self.rows(self.definitions_sql)
        return {name: text for kind, name, text in rows if kind in ("table", "view")}

    @cached_property
    def _index_definitions(self) -> dict[str, str]:
        rows = self.rows(self.definitions_sql)
        return {name: text for kind, name, text in rows if kind == "index"}

    def common_type(self, source_type: str) -> CommonType:
        found = common_type(source_type, self.common_types)
        if found != CommonType.OTHER:
            return found
        upper = source_type.upper()
        if upper.startswith(SHAPES):  # not a number, though SQLite finds INT in them
            return CommonType.OTHER
        return next((affinity for part, affinity in AFFINITIES if part in upper), CommonType.OTHER)


def ordered(is_descending: int, collation: str | None) -> str:
    """Return what a definition adds to an indexed column: the collation and the order."""
    words = [f"COLLATE {collation}"] if collation not in (None, "BINARY") else []
    return " ".join([*words, *(["DESC"] if is_descending else [])])


def is_utf_8(text: bytes) -> bool:
    """Return whether text is valid UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
