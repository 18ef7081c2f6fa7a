"""`manage.py apply_data_sources`: create, change and delete data sources as a file declares."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from datasources.declarations.plan import Applier, Plan
from datasources.declarations.problems import DeclarationError
from datasources.declarations.reading import Declarations
from datasources.declarations.references import resolve
from datasources.declarations.text import Document
from datasources.management.table import printable
from datasources.models import Author
from organizations.management.organizations import find_organization
from organizations.models import Organization
from rivergen.errors import DomainError

FILE_BYTES_MAX = 16 * 1024 * 1024
DONE = "Created: {create}; changed: {change}; deleted: {delete}; unchanged: {keep}."
PLANNED = "To create: {create}; to change: {change}; to delete: {delete}; unchanged: {keep}."


class Command(BaseCommand):
    """Apply a YAML file of data sources; with `--prune`, delete what it does not declare."""

    help = (
        "Create and change data sources as a YAML file declares them. A data source is identified "
        "by workspace and name; fields that the file does not mention stay unchanged. Applies all "
        "changes or none. export_data_sources writes such a file. Secrets are references: "
        "${env:NAME}, or ${file:path} below SECRETS_ROOT."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="path of the YAML file; - reads standard input")
        parser.add_argument(
            "--organization", metavar="SLUG", help="required if the file does not name it"
        )
        parser.add_argument(
            "--plan", action="store_true", help="print the changes without storing them"
        )
        parser.add_argument(
            "--prune",
            action="store_true",
            help="delete data sources that are not in the file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["file"]
        try:
            declarations = Declarations(Document(read_file(name)))
            organization = organization_of(declarations, options["organization"])
            applier = Applier(declarations, organization, resolve, Author(None))
            plan = applier.apply(prune=options["prune"], dry_run=options["plan"])
        except DeclarationError as error:
            lines = "\n".join(f"{name}: {printable(str(problem))}" for problem in error.problems)
            raise CommandError(f"{lines}\nNothing was changed.") from None
        except DomainError as error:
            raise CommandError(f"{error}\nNothing was changed.") from None
        self.print_plan(plan, PLANNED if options["plan"] else DONE)

    def print_plan(self, plan: Plan, summary: str) -> None:
        """Print the steps of a plan, and a summary."""
        for step in plan.steps:
            for line in step.lines():
                self.stdout.write(printable(line))
        self.stdout.write(summary.format(**plan.counts()))


def read_file(name: str) -> str:
    """Read a text file, or standard input for `-`. Raises CommandError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:  # before decoding: the cut may split a character
            raise CommandError(f"{name} is larger than {FILE_BYTES_MAX:,} bytes.")
        return data.decode()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is not UTF-8 text.") from None


def organization_of(declarations: Declarations, slug: str | None) -> Organization:
    """Return the organization named by the file or by the argument. Raises CommandError."""
    if declarations.organization is None and slug is None:
        raise CommandError("The file names no organization. Add --organization SLUG.")
    if slug is not None and declarations.organization not in (None, slug):
        raise CommandError(f"The file is for {declarations.organization}, not for {slug}.")
    return find_organization(slug or str(declarations.organization))
