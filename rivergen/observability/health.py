"""`/healthz` and `/readyz`: liveness and readiness, for supervisors and load balancers."""

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from rivergen.postgresql.row_level_security import unprotected_tables

_was_migrated = False


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process can answer at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database is reachable and fully migrated, 503 with the reason if not."""
    try:
        if not is_migrated():
            return JsonResponse({"status": "unavailable", "database": "not migrated"}, status=503)
        if not is_isolated():
            reason = "no row-level security"
            return JsonResponse({"status": "unavailable", "database": reason}, status=503)
    except (DatabaseError, InterfaceError):
        return JsonResponse({"status": "unavailable", "database": "out of reach"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


def is_isolated() -> bool:
    """Return whether row-level security is active, or not configured.

    Always runs one statement, so that the database is checked either way.
    """
    if settings.DATABASE_ROW_LEVEL_SECURITY:
        return not unprotected_tables()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def is_migrated() -> bool:
    """Return whether all migrations of this code are applied.

    Remembers a positive result: reading all migrations costs ten times the rest of the answer.
    """
    global _was_migrated
    if not _was_migrated:
        executor = MigrationExecutor(connection)
        _was_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _was_migrated
