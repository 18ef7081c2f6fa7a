"""Comparisons that Django has no words for."""

from typing import Any

from django.db import models


class AnyOf(models.Lookup):
    """One of these ids: `AnyOf(F("organization_id"), [1, 2])`.

    `__in` writes a placeholder for each, which takes as long for a thousand of them as all else
    together.
    """

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        return f"{left} = ANY(%s::bigint[])", (*parameters, self.rhs)
