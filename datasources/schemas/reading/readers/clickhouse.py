"""The catalogue of ClickHouse, where a schema is a database."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

# Wrappers around a type that say how values are stored, or that they may be null. A type has three
# at most: SimpleAggregateFunction(any, LowCardinality(Nullable(String))).
WRAPPERS_MAX = 3
WRAPPED = re.compile(
    r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+(?:\([^()]*\))?, )?(.*)\)"
)
# Quoted names and literals, and any other character.
TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*"|.""", re.DOTALL)
# A materialized view without a table of its own keeps its rows in such a table.
IS_INNER = "(startsWith({0}, '.inner.') OR startsWith({0}, '.inner_id.'))"


class ClickHouseReader(SQLReader):
    """ClickHouse: the tables of the database `system`."""

    types = ("clickhouse",)
    problem_without_columns = NO_COLUMNS
    common_types = {
        "bfloat16": CommonType.FLOAT,
        # A point in time; the time zone is only for display.
        "datetime": CommonType.TIMESTAMP_TZ,
        "datetime64": CommonType.TIMESTAMP_TZ,
        "enum8": CommonType.STRING,
        "enum16": CommonType.STRING,
        "ipv4": CommonType.STRING,
        "ipv6": CommonType.STRING,
        "nested": CommonType.ARRAY,
        "object": CommonType.JSON,
        "qbit": CommonType.ARRAY,
        "time64": CommonType.TIME,
        "variant": CommonType.OTHER,  # a value of one of several types
        **dict.fromkeys(("decimal32", "decimal64", "decimal256"), CommonType.DECIMAL),
        **{
            f"interval{unit}": CommonType.INTERVAL
            for unit in ("nanosecond", "microsecond", "millisecond", "second", "minute", "hour")
            + ("day", "week", "month", "quarter", "year")
        },
    }
    relations_sql = f"""
SELECT database, name,
    multiIf(engine = 'View', 'view', engine = 'MaterializedView', 'materialized_view', 'table'),
    comment, total_rows
FROM system.tables
WHERE database = {{schema}} AND NOT is_temporary AND NOT {IS_INNER.format("name")}"""
    columns_sql = f"""
SELECT database, table, name, type,
    match(type, '^(SimpleAggregateFunction\\\\(\\\\w+, )?(LowCardinality\\\\()?Nullable\\\\(')
        OR match(type, '^(Variant\\\\(|Dynamic)'),
    default_kind <> '', comment,
    multiIf(default_kind = '', NULL, default_kind = 'DEFAULT', default_expression,
        concat(default_kind, ' ', default_expression))
FROM system.columns WHERE database = {{schema}} AND NOT {IS_INNER.format("table")}
ORDER BY table, position"""
    keys_sql = """
SELECT database, name, primary_key, sorting_key
FROM system.tables WHERE database = {schema} AND primary_key <> ''"""
    # Data skipping indexes, the only ones besides the primary key and projections.
    skipping_sql = """
SELECT database, table, name, expr, type_full, granularity FROM system.data_skipping_indices
WHERE database = {schema} ORDER BY table, name"""
    has_projections_sql = """
SELECT 1 FROM system.tables WHERE database = 'system' AND name = 'projections'"""
    projections_sql = """
SELECT database, table, name, sorting_key, query FROM system.projections
WHERE database = {schema} ORDER BY table, name"""
    schema_sql = "SELECT 1 FROM system.databases WHERE name = {schema}"

    @property
    def schema(self) -> str | None:
        """The database to read."""
        return self.configuration.schema_name or self.configuration.database_name

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        for schema, table, primary_key, sorting_key in self.rows(self.keys_sql):
            columns, order = parts_of(primary_key), parts_of(sorting_key)
            options = None if order == columns else f"ORDER BY ({', '.join(order)})"
            for column in columns:
                yield schema, table, None, column, options

    def indexes(self) -> Iterator[Sequence[Any]]:
        for schema, table, name, expressions, method, granularity in self.rows(self.skipping_sql):
            for column in parts_of(expressions):
                options = f"GRANULARITY {granularity}"
                yield schema, table, name, False, column, None, False, method, None, options
        # Servers before 24.9 do not list projections.
        if any(True for _ in self.rows(self.has_projections_sql)):
            for schema, table, name, order, query in self.rows(self.projections_sql):
                for column in order or [query]:
                    yield schema, table, name, False, column, None, False, "projection", None, query

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type of what is inside `Nullable(…)` and other wrappers."""
        for _ in range(WRAPPERS_MAX):
            if wrapped := WRAPPED.fullmatch(source_type):
                source_type = wrapped[1]
        return super().common_type(source_type)


def parts_of(expressions: str) -> list[str]:
    """Return the parts of a key, such as `a, f(b, c)`; the names of columns without quotes."""
    parts, depth = [""], 0
    for token in TOKEN.findall(expressions):
        depth += (token == "(") - (token == ")")
        if token == "," and not depth:
            parts.append("")
        else:
            parts[-1] += token
    if len(parts) == 1 and is_in_parentheses(expressions):
        return parts_of(expressions[1:-1])
    return [unquoted(part.strip()) for part in parts if part.strip()]


def is_in_parentheses(expressions: str) -> bool:
    """Return whether the first parenthesis is closed by the last character."""
    depths, depth = [], 0
    for token in TOKEN.findall(expressions):
        depth += (token == "(") - (token == ")")
        depths.append(depth)
    return expressions.startswith("(") and len(depths) > 2 and all(depths[:-1])


def unquoted(name: str) -> str:
    """Return the name of a column without its backticks, any other expression as it is."""
    if TOKEN.fullmatch(name) and name.startswith("`"):
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name
