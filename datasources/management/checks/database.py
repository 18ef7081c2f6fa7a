"""Checks of rivergen's own database."""

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from datasources.management.checks import Finding, State
from rivergen.observability.health import is_migrated
from rivergen.postgresql.row_level_security import PROTECTED, unprotected_tables

POSTGRESQL_MIN = 150_000


def check_database() -> Finding:
    """Check that PostgreSQL answers, is new enough, and uses UTF-8."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_encoding')")
            encoding = cursor.fetchone()[0]
    except (DatabaseError, InterfaceError):
        fix = "Cannot be reached. Start it, or correct DATABASE_URL."
        return Finding("database", State.FAILED, fix)
    version: int = connection.pg_version  # type: ignore[attr-defined]
    if version < POSTGRESQL_MIN:
        fix = f"PostgreSQL {version // 10_000} is too old. Use 15 or newer."
        return Finding("database", State.FAILED, fix)
    if encoding != "UTF8":
        fix = f"The encoding is {encoding}. Create a database with ENCODING 'UTF8'."
        return Finding("database", State.FAILED, fix)
    return Finding("database", State.OK, f"PostgreSQL {version // 10_000}.{version % 10_000}.")


def check_migrations() -> Finding:
    """Check that all migrations are applied."""
    if not is_migrated():
        fix = "Some are missing. Run: python manage.py migrate"
        return Finding("migrations", State.FAILED, fix)
    return Finding("migrations", State.OK, "All applied.")


def check_isolation() -> Finding:
    """Check that row-level security is as DATABASE_ROW_LEVEL_SECURITY says."""
    visible = unprotected_tables()
    if not settings.DATABASE_ROW_LEVEL_SECURITY:
        if len(visible) < len(PROTECTED):
            fix = "This role sees no rows without DATABASE_ROW_LEVEL_SECURITY=1. Set it."
            return Finding("isolation", State.FAILED, fix)
        text = "This role sees all rows, as workers and commands must."
        return Finding("isolation", State.OK, text)
    if visible:
        fix = (
            f"This role sees all rows of {', '.join(sorted(visible))}. Let the web connect as a "
            "role that owns no table, and run as the owner: python manage.py protect_rows ROLE"
        )
        return Finding("isolation", State.FAILED, fix)
    return Finding("isolation", State.OK, "This role sees only the rows of the acting user.")
