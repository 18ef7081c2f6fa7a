"""`manage.py apply_data_sources`: make it what a file says."""

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

FILE_BYTES_MAX = 16 * 1024 * 1024
DONE = "Created: {create}; changed: {change}; deleted: {delete}; left as they are: {keep}."
PLANNED = "To create: {create}; to change: {change}; to delete: {delete}; to leave: {keep}."


class Command(BaseCommand):
    """Create, change and, if asked, delete data sources, as a file declares them."""

    help = (
        "Create and change data sources as a YAML file declares them, each known by workspace and "
        "name; what the file does not say of one stays as it is. All of it is done, or nothing. "
        "Start from what export_data_sources writes. Secrets stand there by reference only: "
        "${env:NAME}, or ${file:path} below SECRETS_ROOT."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file; - is standard input")
        parser.add_argument(
            "--organization", metavar="SLUG", help="whose they are, if the file does not say it"
        )
        parser.add_argument(
            "--plan", action="store_true", help="only say what would be done, and store nothing"
        )
        parser.add_argument(
            "--prune", action="store_true", help="delete what the file does not declare"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["file"]
        try:
            declarations = Declarations(Document(read_file(name)))
            organization = organization_of(declarations, options["organization"])
            applier = Applier(declarations, organization, resolve, Author(None))
            plan = applier.apply(prune=options["prune"], dry_run=options["plan"])
        except DeclarationError as error:
            lines = "\n".join(f"{name}: {printable(str(one))}" for one in error.problems)
            raise CommandError(f"{lines}\nNothing was changed.") from None
        self.say(plan, PLANNED if options["plan"] else DONE)

    def say(self, plan: Plan, summary: str) -> None:
        """Print the steps, and how many there are."""
        for step in plan.steps:
            for line in step.lines():
                self.stdout.write(printable(line))
        self.stdout.write(summary.format(**plan.counts()))


def read_file(name: str) -> str:
    """Give the text of a file. Raises CommandError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:  # and cut, inside of a character maybe
            raise CommandError(f"{name} is larger than {FILE_BYTES_MAX:,} bytes.")
        return data.decode()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name} is no UTF-8 text.") from None


def organization_of(declarations: Declarations, slug: str | None) -> Organization:
    """Give the organization that the file or the argument names. Raises CommandError."""
    if declarations.organization is None and slug is None:
        raise CommandError("Say whose they are: --organization SLUG.")
    if slug is not None and declarations.organization not in (None, slug):
        raise CommandError(f"The file is of {declarations.organization}, not of {slug}.")
    return find_organization(slug or str(declarations.organization))
