"""`manage.py create_organization`: make a tenant with its owner."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from organizations.management.people import add_user_argument, find_or_make_user
from organizations.models import Organization, Role


class Command(BaseCommand):
    """Create an organization, its default workspace, and the membership of its owner."""

    help = (
        "Create an organization. It gets a workspace, and an owner, who can add all others over "
        "the API. Example: manage.py create_organization acme --name Acme --owner olivia --new-user"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="its short name: letters, digits, hyphens and underscores")
        parser.add_argument("--name", help="as people see it (default: the short name)")
        parser.add_argument("--owner", required=True, metavar="USERNAME", help="who owns it")
        add_user_argument(parser)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        slug, name = options["slug"], options["name"]
        organization = Organization(slug=slug, name=slug if name is None else name)
        try:
            organization.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        owner = find_or_make_user(options["owner"], options["new_user"])
        organization.save()
        organization.add_member(owner, Role.OWNER)
        self.stdout.write(
            f"{organization.name} has the id {organization.pk}, and {owner.username} owns it."
        )
