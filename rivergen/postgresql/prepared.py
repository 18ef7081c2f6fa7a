"""Queries that are compiled once.

To build the query of one data source and to compile it takes Django several times as long as to
have it run and to read its row. Only some ids differ from one time to the next.
"""

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, Generic, NamedTuple, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.db.models import Field, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row", bound=Model)

# Stand for the ids while a query is compiled; no id is negative.
PLACEHOLDERS = (-1_000_000_007, -1_000_000_009)


class Compiled(NamedTuple):
    """What a queryset comes to."""

    sql: str
    parameters: tuple[Any, ...]
    compiler: SQLCompiler
    converters: dict[int, Any]


class CompiledQuery:
    """A queryset that depends on one or two ids alone."""

    def __init__(self, build: Callable[..., QuerySet[Any, Any]]) -> None:
        """`build` gives the queryset for the ids; it compares each of them once, as it is."""
        self._build = build

    def rows(self, *ids: int) -> list[Any]:
        """Run it; give what is selected, row by row."""
        sql, parameters, compiler, converters = self._compiled
        values = dict(zip(PLACEHOLDERS, ids, strict=False))
        with connection.cursor() as cursor:
            cursor.execute(sql, [values.get(value, value) for value in parameters])
            return [*compiler.apply_converters(cursor.fetchall(), converters)]

    @functools.cached_property
    def _compiled(self) -> Compiled:
        """Write the SQL; one with a lock wants to be in a transaction, as when it is run."""
        placeholders = PLACEHOLDERS[: len(inspect.signature(self._build).parameters)]
        compiler = self._build(*placeholders).query.get_compiler(connection.alias)
        sql, parameters = compiler.as_sql()
        assert {*map(parameters.count, placeholders)} == {1}, "Each id must be compared once."
        converters = compiler.get_converters([expression for expression, *_ in compiler.select])
        return Compiled(sql, tuple(parameters), compiler, converters)


class CompiledGet(CompiledQuery, Generic[Row]):
    """`queryset.get()`, of a queryset with the columns of one model, and annotations."""

    def __init__(self, model: type[Row], build: Callable[[int, int], QuerySet[Row]]) -> None:
        super().__init__(build)
        self._model = model

    def __call__(self, *ids: int) -> Row:
        """Fetch the row. Raises ObjectDoesNotExist."""
        for values in self.rows(*ids):
            found = self._model.from_db(connection.alias, self._names, values[: len(self._names)])
            for name, column in self._compiled.compiler.annotation_col_map.items():
                setattr(found, name, values[column])
            return found
        raise ObjectDoesNotExist

    @functools.cached_property
    def _names(self) -> list[str]:
        compiler = self._compiled.compiler
        columns = compiler.klass_info["select_fields"]
        assert columns == [*range(len(columns))], "The columns of the model come first."
        return [compiler.select[column][0].target.attname for column in columns]


def update_row(row: Model, columns: Collection[str], record: Model | None = None) -> None:
    """Do as `row.save(update_fields=columns)` and `record.save()` do, in one statement.

    The row is locked, `record` new, and nobody wants to know its id; there are no signals.
    """
    sql, fields = _update(type(row), frozenset(columns))
    values = [*_values(row, fields), row.pk]
    if record is not None:
        insert, fields = _insert(type(record))
        # What is in WITH is carried out whether or not it is referred to.
        sql, values = f"WITH updated AS ({sql}) {insert}", [*values, *_values(record, fields)]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


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
    return [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
