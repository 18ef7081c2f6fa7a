"""The catalogue of MySQL and MariaDB, where a schema is a database."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

PERIOD = re.compile(r"`((?:[^`]|``)+)` < `((?:[^`]|``)+)`")
# Index types whose `sub_part` is not the length of a prefix.
WITHOUT_PREFIX = ("RTREE", "SPATIAL")


class MySQLReader(SQLReader):
    """MySQL and MariaDB: `information_schema`, restricted to one database."""

    types = ("mysql", "mariadb")
    problem_without_columns = NO_COLUMNS
    common_types = {
        "bit": CommonType.BINARY,
        "geomcollection": CommonType.OTHER,
        "inet4": CommonType.STRING,
        "inet6": CommonType.STRING,
        "timestamp": CommonType.TIMESTAMP_TZ,  # a point in time, shown in the session's time zone
        "tinyint(1)": CommonType.BOOLEAN,
        "vector": CommonType.ARRAY,
    }
    # The comment of a view is the word VIEW; that of a damaged table or view, which has no engine,
    # is an error message.
    relations_sql = """
SELECT table_schema, table_name, IF(table_type LIKE '%%VIEW', 'view', 'table'),
    IF(engine IS NULL, NULL, table_comment), table_rows
FROM information_schema.tables
WHERE table_schema = {schema} AND table_type NOT LIKE '%%SEQUENCE' AND table_type <> 'TEMPORARY'"""
    # Sorted by bytes, because a collation may consider two names equal, whose columns would then be
    # mixed. Columns in braces are those that not all servers have: see `rows`.
    columns_sql = """
SELECT table_schema, table_name, column_name, column_type, is_nullable = 'YES', column_default,
    extra, {columns.generation_expression}, column_comment
FROM information_schema.columns WHERE table_schema = {schema}
ORDER BY CAST(table_name AS BINARY), ordinal_position"""
    keys_sql = """
SELECT table_schema, table_name, index_name, non_unique = 0, column_name, collation, sub_part,
    index_type, index_comment, {statistics.expression}, {statistics.ignored},
    {statistics.is_visible}
FROM information_schema.statistics WHERE table_schema = {schema}
ORDER BY CAST(table_name AS BINARY), CAST(index_name AS BINARY), seq_in_index"""
    foreign_keys_sql = """
SELECT table_schema, table_name, constraint_name, column_name,
    referenced_table_schema, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = {schema} AND referenced_table_name IS NOT NULL
ORDER BY CAST(table_name AS BINARY), CAST(constraint_name AS BINARY), ordinal_position"""
    actions_sql = """
SELECT table_name, constraint_name, update_rule, delete_rule
FROM information_schema.referential_constraints WHERE constraint_schema = {schema}"""
    periods_sql = """
SELECT table_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = {schema} AND level = 'Table'"""
    optional_columns_sql = """
SELECT lower(table_name), lower(column_name) FROM information_schema.columns
WHERE table_schema = 'information_schema'
    AND table_name IN ('CHECK_CONSTRAINTS', 'COLUMNS', 'STATISTICS')"""
    schema_sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = {schema}"

    @property
    def schema(self) -> str | None:
        """The database to read."""
        return self.configuration.schema_name or self.configuration.database_name

    def rows(self, statement: str | None, *cursor_type: Any) -> Iterator[Sequence[Any]]:
        """Run a statement, with NULL for the columns that this server's catalogue does not have."""
        if statement is None:
            return
        optional = re.findall(r"\{((\w+)\.(\w+))\}", statement)
        for name, table, column in optional:
            value = column if (table, column) in self.optional_columns else "NULL"
            statement = statement.replace(f"{{{name}}}", value)
        yield from super().rows(statement, *cursor_type)

    @cached_property
    def optional_columns(self) -> set[tuple[str, str]]:
        """The columns that some tables of this server's catalogue have."""
        return {(table, column) for table, column in super().rows(self.optional_columns_sql)}

    def relations(self) -> Iterable[Sequence[Any]]:
        # The option `charset` may be one that cannot spell all names.
        self.connection.set_character_set("utf8mb4")
        return super().relations()

    def columns(self) -> Iterator[Sequence[Any]]:
        """Yield the columns by an unbuffered cursor, which blocks all other statements."""
        from pymysql.cursors import SSCursor

        default_of = mariadb_default if self._is_mariadb else mysql_default
        for schema, table, name, source_type, nullable, *default, comment in self.rows(
            self.columns_sql, SSCursor
        ):
            text = default_of(*default)
            yield schema, table, name, source_type, nullable, text is not None, comment, text

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        for (schema, table, index), parts in self._keys.items():
            if index == "PRIMARY":
                clauses = self._options(parts)
                if any(map(part_option, parts)):
                    listed = (f"{part[4]} {part_option(part)}".rstrip() for part in parts)
                    clauses.insert(0, f"({', '.join(listed)})")
                for part in parts:
                    yield schema, table, None, part[4], " ".join(clauses)

    def indexes(self) -> Iterator[Sequence[Any]]:
        for (schema, table, index), parts in self._keys.items():
            if index != "PRIMARY":
                options = " ".join(self._options(parts))
                for part in parts:
                    column, expression = part[4], part[9]
                    yield (
                        *(schema, table, index, part[3], column or f"({expression})"),
                        *(part_option(part), False, part[7], None, options),
                    )

    def foreign_keys(self) -> Iterator[Sequence[Any]]:
        actions = {row[:2]: row[2:] for row in self.rows(self.actions_sql)}
        for row in self.rows(self.foreign_keys_sql):
            yield *row, *actions.get(tuple(row[1:3]), (None, None))

    @cached_property
    def _is_mariadb(self) -> bool:
        # Not by the version: a proxy may state another one.
        return ("columns", "is_generated") in self.optional_columns

    @cached_property
    def _keys(self) -> dict[tuple[str, str, str], list[Sequence[Any]]]:
        """The rows of each index, by schema, table and index."""
        rows = groupby(self.rows(self.keys_sql), itemgetter(0, 1, 2))
        return {index: [*parts] for index, parts in rows}

    def _options(self, parts: Sequence[Sequence[Any]]) -> list[str]:
        """Return the clauses that a definition of an index may have after its columns."""
        _, table, index, *_, comment, _, is_ignored, is_visible = parts[0]
        options = []
        if (table, index) in self._without_overlaps:
            options.append("WITHOUT OVERLAPS")
        if is_ignored == "YES":
            options.append("IGNORED")
        if is_visible == "NO":
            options.append("INVISIBLE")
        if comment:
            options.append(f"COMMENT {quoted(comment)}")
        return options

    @cached_property
    def _without_overlaps(self) -> set[tuple[str, str]]:
        """The unique indexes whose last two columns are a period that may not overlap.

        MariaDB lists periods only since 11.4, but each is also a check that one column is less than
        another. Its definition is asked for only if a unique index ends with these two.
        """
        if ("check_constraints", "level") not in self.optional_columns:
            return set()
        endings = defaultdict(list)
        for (_, table, index), parts in self._keys.items():
            if parts[0][3] and len(parts) > 1:
                endings[table, parts[-1][4], parts[-2][4]].append(index)
        if not endings:
            return set()
        found = set()
        for table, clause in self.rows(self.periods_sql):
            if period := PERIOD.fullmatch(clause):
                start, end = (name.replace("``", "`") for name in period.groups())
                for index in endings.get((table, start, end), ()):
                    if self._defines_without_overlaps(table, index):
                        found.add((table, index))
        return found

    def _defines_without_overlaps(self, table: str, index: str) -> bool:
        """Return whether the definition of a table has WITHOUT OVERLAPS for an index."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SHOW CREATE TABLE {identifier(self.schema or '')}.{identifier(table)}")
            lines = str(cursor.fetchone()[1]).splitlines()
        start = "PRIMARY KEY (" if index == "PRIMARY" else f"UNIQUE KEY {identifier(index)} ("
        return any(
            line.strip().startswith(start) and "` WITHOUT OVERLAPS)" in line for line in lines
        )

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type by the first word; for `tinyint(1)`, by the whole type."""
        lower = source_type.lower()
        return self.common_types.get(lower) or super().common_type(re.split("[ (]", lower)[0])


def mariadb_default(default: str | None, extra: str, expression: str | None) -> str | None:
    """Return what a column of MariaDB is filled with; the text NULL stands for no default."""
    return whole_default(None if default == "NULL" else default, extra, expression)


def mysql_default(default: str | None, extra: str, expression: str | None) -> str | None:
    """Return what a column of MySQL is filled with; MySQL shows literals without quotes."""
    if default is not None and "DEFAULT_GENERATED" not in extra:
        # MySQL before 8.0 shows this function like a literal.
        is_function = default.upper().startswith("CURRENT_TIMESTAMP") or default.startswith("b'")
        default = default if is_function else quoted(default)
    return whole_default(default, extra.replace("DEFAULT_GENERATED", ""), expression)


def whole_default(default: str | None, extra: str, expression: str | None) -> str | None:
    """Return a default with the clauses that stand in `extra`."""
    lower = extra.lower()
    if expression:
        if expression in ("ROW START", "ROW END"):
            return f"GENERATED ALWAYS AS {expression}"
        kind = "STORED" if "stored" in lower or "persistent" in lower else "VIRTUAL"
        return f"GENERATED ALWAYS AS ({expression}) {kind}"
    clauses = [default] if default is not None else []
    if "auto_increment" in lower:
        clauses.append("AUTO_INCREMENT")
    if update := re.search(r"on update [^,]+", extra, re.IGNORECASE):
        clauses.append(f"ON UPDATE{update[0][len('on update') :]}")
    return " ".join(clauses) or None


def part_option(part: Sequence[Any]) -> str:
    """Return the length of a prefix and the direction of a part of an index."""
    _, _, _, _, column, collation, length, method, *_ = part
    is_prefix = length is not None and column and method not in WITHOUT_PREFIX
    prefix = [f"({length})"] if is_prefix else []
    return " ".join([*prefix, *(["DESC"] if collation == "D" else [])])


def identifier(name: str) -> str:
    """Return a name in backticks."""
    return "`" + name.replace("`", "``") + "`"


def quoted(text: str) -> str:
    """Return a literal as SHOW CREATE TABLE spells it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
