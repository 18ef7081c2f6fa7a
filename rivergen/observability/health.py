"""Liveness and readiness, for whoever restarts processes and routes requests to them."""

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from rivergen.postgresql.row_level_security import tables_in_sight

_was_migrated = False


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process can answer at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database is within reach and fully migrated, 503 with the reason if not."""
    try:
        if not is_migrated():
            return JsonResponse({"status": "unavailable", "database": "not migrated"}, status=503)
        if not is_walled():
            reason = "no row-level security"
            return JsonResponse({"status": "unavailable", "database": reason}, status=503)
    except (DatabaseError, InterfaceError):
        return JsonResponse({"status": "unavailable", "database": "out of reach"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


def is_walled() -> bool:
    """Whether the database keeps organizations apart, or nobody has asked for that.

    One statement either way.
    """
    if settings.DATABASE_ROW_LEVEL_SECURITY:
        return not tables_in_sight()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def is_migrated() -> bool:
    """Whether all migrations of this code have been applied.

    Remembered once it is so: reading all migrations costs ten times the rest of the answer.
    """
    global _was_migrated
    if not _was_migrated:
        executor = MigrationExecutor(connection)
        _was_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _was_migrated
