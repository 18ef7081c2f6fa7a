"""Comparisons with many values at once, which Django's ORM lacks or does slowly."""

from collections.abc import Collection
from typing import Any

from django.db import connection, models


class AnyOf(models.Lookup):
    """Match any of some ids: `AnyOf(F("organization_id"), [1, 2])`.

    `__in` writes a placeholder for each id: for a thousand ids, that takes as long as the rest of
    the request.
    """

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        return f"{left} = ANY(%s::bigint[])", (*parameters, self.rhs)


class AnyOfPairs(models.Func):
    """Match any of some pairs of id and text: `AnyOfPairs("workspace_id", "name", pairs=[…])`."""

    template = "(%(expressions)s) IN (SELECT * FROM unnest(%%s::bigint[], %%s::text[]))"
    arity = 2
    output_field = models.BooleanField()

    def __init__(self, *expressions: Any, pairs: Collection[tuple[int, str]]) -> None:
        super().__init__(*expressions)
        self.pairs = pairs

    def as_sql(self, *args: Any, **options: Any) -> tuple[str, tuple[Any, ...]]:
        statement, parameters = super().as_sql(*args, **options)
        ids, texts = [pair[0] for pair in self.pairs], [pair[1] for pair in self.pairs]
        return statement, (*parameters, ids, texts)


def lower_case(texts: list[str]) -> list[str]:
    """Return texts in lower case by the database's collation, which may differ from Python's."""
    statement = "SELECT lower(text) FROM unnest(%s::text[]) WITH ORDINALITY AS given (text, number)"
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} ORDER BY number", [texts])
        return [text for (text,) in cursor.fetchall()]
