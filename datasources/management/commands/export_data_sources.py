"""`manage.py export_data_sources`: print data sources as YAML."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from datasources.declarations.export import export
from organizations.management.organizations import find_organization


class Command(BaseCommand):
    """Print the data sources of an organization as YAML."""

    help = (
        "Print the data sources of an organization as YAML, without secrets, for "
        "apply_data_sources. Example: manage.py export_data_sources --organization acme > acme.yaml"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--organization", required=True, metavar="SLUG", help="the organization"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for part in export(find_organization(options["organization"])):
            self.stdout.write(part, ending="")
