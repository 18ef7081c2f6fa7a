"""`manage.py protect_rows`: row-level security between organizations, in PostgreSQL."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection, transaction

from rivergen.postgresql.row_level_security import (
    PROTECTED,
    bypass_reason,
    leakproof_statements,
    protect_statements,
    unprotect_statements,
)


class Command(BaseCommand):
    """Create the row-level security policies, and grant the web server's role its privileges."""

    help = (
        "Create row-level security policies, so that ROLE, as which the web connects, sees only "
        "rows of the acting user's organizations, and grant it the privileges that the web needs. "
        "Create the role first: CREATE ROLE name LOGIN PASSWORD '…'. Run this as the owner of the "
        "tables, and again after each migrate."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", metavar="ROLE", help="the PostgreSQL role of the web")
        parser.add_argument(
            "--remove", action="store_true", help="drop the policies, and revoke the privileges"
        )
        parser.add_argument(
            "--leakproof",
            action="store_true",
            help="also mark the search functions leakproof, so that searches use their indexes; "
            "needs a superuser and affects the whole database (see docs/isolation.md)",
        )
        parser.add_argument(
            "--sql", action="store_true", help="print the statements without running them"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        role, is_removed = options["role"], options["remove"]
        if not is_removed and (problem := bypass_reason(role)):
            raise CommandError(problem)
        statements = (unprotect_statements if is_removed else protect_statements)(role)
        if options["leakproof"]:
            statements += leakproof_statements(not is_removed)
        if options["sql"]:
            self.stdout.write("\n".join(f"{line};" for line in ("BEGIN", *statements, "COMMIT")))
            return
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except DatabaseError as error:  # not the owner, or timed out waiting for a lock
            raise CommandError(str(error).strip()) from None
        done = "removed from" if is_removed else "enabled on"
        self.stdout.write(f"Row-level security {done} {len(PROTECTED)} tables.")
