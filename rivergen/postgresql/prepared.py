"""Queries whose SQL is compiled once per process, for requests about one data source.

Django takes several times as long to build and compile such a query as the database takes to run
it. From one request to the next only the ids differ.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, NamedTuple, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import connection, connections
from django.db.models import Field, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row", bound=Model)

# Placeholders for the ids while the SQL is compiled; no real id is negative.
PLACEHOLDERS = (-1_000_000_007, -1_000_000_009)

# Their values are kept until they are sent.
BATCH_MAX = 20


class Prepared(NamedTuple):
    """The SQL of a queryset, and how to read its rows."""

    sql: str
    parameters: tuple[Any, ...]
    compiler: SQLCompiler
    converters: dict[int, Any]


class PreparedQuery:
    """A queryset that depends only on one or two ids, or lists of ids."""

    def __init__(self, build: Callable[..., QuerySet[Any, Any]]) -> None:
        """Store `build`, which returns the queryset for the ids, and compares each exactly once."""
        self._build = build

    def rows(self, *ids: Any) -> list[Any]:
        """Run the query and return the selected values, row by row."""
        return [self.convert(row) for row in self.fetch(*ids)]

    def fetch(self, *ids: Any) -> list[tuple[Any, ...]]:
        """Run the query and return the rows as the driver returns them."""
        values = dict(zip(PLACEHOLDERS, ids, strict=False))
        parameters = [values.get(value, value) for value in self._prepared.parameters]
        with connection.cursor() as cursor:
            cursor.execute(self._prepared.sql, parameters)
            return cursor.fetchall()

    def convert(self, row: tuple[Any, ...]) -> Any:
        """Return the selected values of a fetched row as Python has them."""
        [converted] = self._prepared.compiler.apply_converters([row], self._prepared.converters)
        return converted

    @functools.cached_property
    def _prepared(self) -> Prepared:
        """Return the SQL, compiled at first use: a query that locks needs a transaction."""
        placeholders = PLACEHOLDERS[: len(inspect.signature(self._build).parameters)]
        compiler = self._build(*placeholders).query.get_compiler(connection.alias)
        sql, parameters = compiler.as_sql()
        assert {*map(parameters.count, placeholders)} == {1}, "Each id must be compared once."
        converters = compiler.get_converters([expression for expression, *_ in compiler.select])
        return Prepared(sql, tuple(parameters), compiler, converters)


class PreparedGet(PreparedQuery, Generic[Row]):
    """`queryset.get()` for a queryset with all columns of one model, and annotations."""

    def __init__(self, model: type[Row], build: Callable[[int, int], QuerySet[Row]]) -> None:
        super().__init__(build)
        self._model = model

    def __call__(self, *ids: int) -> Row:
        """Return the row. Raises the model's DoesNotExist."""
        for row in self.fetch(*ids):
            return self._instance(row)
        raise self._model.DoesNotExist  # type: ignore[attr-defined]

    def many(self, *ids: Any) -> dict[int, Callable[[], Row]]:
        """Return a function that makes the instance of each row found, by the id of the row.

        As instances, all rows together may take twenty times the memory of their text.
        """
        column = self._names.index(self._model._meta.pk.attname)
        return {row[column]: functools.partial(self._instance, row) for row in self.fetch(*ids)}

    def _instance(self, row: tuple[Any, ...]) -> Row:
        """Return the instance of a fetched row."""
        values = self.convert(row)
        found = self._model.from_db(connection.alias, self._names, values[: len(self._names)])
        for name, column in self._prepared.compiler.annotation_col_map.items():
            setattr(found, name, values[column])
        return found

    @functools.cached_property
    def _names(self) -> list[str]:
        compiler = self._prepared.compiler
        columns = compiler.klass_info["select_fields"]
        assert columns == [*range(len(columns))], "The columns of the model come first."
        return [compiler.select[column][0].target.attname for column in columns]


def update_row(row: Model, columns: Collection[str], record: Model | None = None) -> None:
    """Write `columns` of a locked row, and insert `record`, in one statement.

    Like `row.save(update_fields=columns)` and `record.save()`, but without signals, and without
    setting the id of `record`.
    """
    sql, fields = _update(type(row), frozenset(columns))
    values = [*_values(row, fields), row.pk]
    if record is not None:
        insert, fields = _insert(type(record))
        # PostgreSQL executes a data-modifying WITH whether or not it is referenced.
        sql, values = f"WITH updated AS ({sql}) {insert}", [*values, *_values(record, fields)]
    if (batch := current_batch.get()) is not None:
        batch.add(sql, values)
        return
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


class Batch:
    """Statements without results, sent together: waiting for each one takes CPU time."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, list[Any]]] = []

    def add(self, sql: str, values: list[Any]) -> None:
        """Add a statement; send all if there are many."""
        self._statements.append((sql, values))
        if len(self._statements) >= BATCH_MAX:
            self.send()

    def send(self) -> None:
        """Send the statements, and wait until all have been executed."""
        statements, self._statements = self._statements, []
        if not statements:
            return
        own = connections[connection.alias]
        with own.wrap_database_errors, own.connection.pipeline(), own.cursor() as cursor:
            for sql, values in statements:
                cursor.execute(sql, values)

    def execute(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """Execute another statement after those of the batch (`execute_wrapper`)."""
        self.send()
        return execute(*arguments)


current_batch: ContextVar[Batch | None] = ContextVar("current_batch", default=None)


@contextmanager
def batched_updates() -> Iterator[None]:
    """Send the statements of `update_row` in batches within this block.

    For use in a transaction. A batch is sent before any other statement. The error of a statement
    is raised by a later one, or at the end of the block.
    """
    batch = Batch()
    token = current_batch.set(batch)
    try:
        with connection.execute_wrapper(batch.execute):
            yield
            batch.send()
    finally:
        current_batch.reset(token)


@functools.cache
def _update(model: type[Model], columns: frozenset[str]) -> tuple[str, list[Field]]:
    all_fields = model._meta.concrete_fields
    fields = [field for field in all_fields if {field.name, field.attname} & columns]
    assignments = ", ".join(f"{_quoted(field.column)} = {_placeholder(field)}" for field in fields)
    where = f"{_quoted(model._meta.pk.column)} = %s"
    return f"UPDATE {_quoted(model._meta.db_table)} SET {assignments} WHERE {where}", fields


@functools.cache
def _insert(model: type[Model]) -> tuple[str, list[Field]]:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    names = ", ".join(_quoted(field.column) for field in fields)
    values = ", ".join(map(_placeholder, fields))
    return f"INSERT INTO {_quoted(model._meta.db_table)} ({names}) VALUES ({values})", fields


def _placeholder(field: Field) -> str:
    is_array = isinstance(field, ArrayField)
    return f"%s::{field.db_type(connection)}" if is_array else "%s"


def _quoted(name: str | None) -> str:
    return connection.ops.quote_name(name or "")


def _values(row: Model, fields: list[Field]) -> list[Any]:
    # Not `connection`: it would look up the connection of this thread several times per field.
    own = connections[connection.alias]
    return [field.get_db_prep_save(getattr(row, field.attname), own) for field in fields]
