"""Detect whether a request has changed any row, with one statement."""

from collections.abc import Collection
from typing import Any

from django.apps import apps

OWN_APPS = ("organizations", "datasources")
# Tables that refused requests write to as well: counts, kept answers and used tokens.
BOOKKEEPING = tuple(
    f"organizations_{name}"
    for name in ("idempotencyrecord", "requestcount", "signincount", "usedrefreshtoken")
)


def business_tables() -> list[str]:
    """Return the names of all tables of our own apps, without BOOKKEEPING."""
    models = (model for app in OWN_APPS for model in apps.get_app_config(app).get_models())
    return sorted({model._meta.db_table for model in models} - {*BOOKKEEPING})


def fingerprint(cursor: Any, tables: Collection[str]) -> Any:
    """Return a value for each table that differs after any insert, update or delete."""
    cursor.execute(
        " UNION ALL ".join(
            f"SELECT '{table}', count(*), "
            f"sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)::numeric) FROM {table}"
            for table in tables
        )
    )
    return cursor.fetchall()
