"""`manage.py protect_rows`: raise the second wall between organizations, in PostgreSQL itself."""

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
    """Make the policies, and grant a role what the web needs."""

    help = (
        "Have PostgreSQL show ROLE, as which the web is to sign in, the rows of the organizations "
        "of whoever is asking, and grant it what the web needs. Make the role first: CREATE ROLE "
        "name LOGIN PASSWORD '…'. Run it as the owner of the tables, and again after each migrate."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", metavar="ROLE", help="as whom the web signs in to PostgreSQL")
        parser.add_argument(
            "--remove", action="store_true", help="take all of it back, from this role"
        )
        parser.add_argument(
            "--leakproof",
            action="store_true",
            help="also let searches go by their indexes in spite of the policies; asks for a "
            "superuser, and is about all tables of the database. docs/isolation.md says more",
        )
        parser.add_argument(
            "--sql", action="store_true", help="print the statements, and run none of them"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        role, is_removed = options["role"], options["remove"]
        if not is_removed and (problem := bypass_reason(role)):
            raise CommandError(problem)
        statements = (unprotect_statements if is_removed else protect_statements)(role)
        if options["leakproof"]:
            statements += leakproof_statements(not is_removed)
        if options["sql"]:
            self.stdout.write("\n".join(f"{one};" for one in ("BEGIN", *statements, "COMMIT")))
            return
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except DatabaseError as error:  # not the owner, or somebody had a table for too long
            raise CommandError(str(error).strip()) from None
        done = "The wall is down" if is_removed else "Nobody but their owner sees all rows"
        self.stdout.write(f"{done}: {len(PROTECTED)} tables.")
