"""Whether a request has changed anything, at the cost of one statement."""

from collections.abc import Collection
from typing import Any

from django.apps import apps

OWN_APPS = ("organizations", "datasources")
# They count requests, and remember answers and tokens: of what was refused, too.
BOOKKEEPING = tuple(
    f"organizations_{name}"
    for name in ("idempotencyrecord", "requestcount", "signincount", "usedrefreshtoken")
)


def business_tables() -> list[str]:
    """Name all tables of our own, but for bookkeeping."""
    models = (model for app in OWN_APPS for model in apps.get_app_config(app).get_models())
    return sorted({model._meta.db_table for model in models} - {*BOOKKEEPING})


def fingerprint(cursor: Any, tables: Collection[str]) -> Any:
    """Say which rows there are, and where each was last written; a change moves it."""
    cursor.execute(
        " UNION ALL ".join(
            f"SELECT '{table}', count(*), "
            f"sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)::numeric) FROM {table}"
            for table in tables
        )
    )
    return cursor.fetchall()
