"""Detecting a database that another version's migrations have made."""

from collections.abc import Iterator

from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model


def difference_from_models() -> str | None:
    """Return the first difference between the migrated database and the models, or None.

    A migration that was rewritten under the same name counts as applied. So the tables are
    compared: their columns, and the names of constraints and indexes.
    """
    loader = MigrationLoader(connection)
    for app, name in loader.applied_migrations:
        if app in loader.migrated_apps and (app, name) not in loader.disk_migrations:
            return f"migration {app}.{name} is not in this checkout"
    return next(_differences(), None)


def _differences() -> Iterator[str]:
    with connection.cursor() as cursor:
        tables = {*connection.introspection.table_names(cursor)}
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            if not model._meta.managed or model._meta.proxy:
                continue
            if table not in tables:
                yield f"table {table} is missing"
                continue
            description = connection.introspection.get_table_description(cursor, table)
            constraints = connection.introspection.get_constraints(cursor, table)
            for name in {column.name for column in description} ^ _columns(model):
                yield f"column {table}.{name} differs"
            for name in _named(model) - {*constraints}:
                yield f"{name} is missing"


def _columns(model: type[Model]) -> set[str]:
    return {str(field.column) for field in model._meta.local_concrete_fields}


def _named(model: type[Model]) -> set[str]:
    return {each.name for each in (*model._meta.constraints, *model._meta.indexes)}
