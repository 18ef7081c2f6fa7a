"""`manage.py create_organization`: create an organization and its owner."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from organizations.management.people import add_user_argument, find_or_create_user
from organizations.models import Organization, Role


class Command(BaseCommand):
    """Create an organization, its default workspace, and the membership of its owner."""

    help = (
        "Create an organization with a default workspace and an owner, who can add members over "
        "the API. Example: manage.py create_organization acme --name Acme --owner olivia --new-user"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="short name: letters, digits, hyphens and underscores")
        parser.add_argument("--name", help="display name (default: the short name)")
        parser.add_argument("--owner", required=True, metavar="USERNAME", help="the owner")
        add_user_argument(parser)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        slug, name = options["slug"], options["name"]
        organization = Organization(slug=slug, name=slug if name is None else name)
        try:
            organization.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        owner = find_or_create_user(options["owner"], options["new_user"])
        organization.save()
        organization.add_member(owner, Role.OWNER)
        self.stdout.write(
            f"Created {organization.name} with id {organization.pk} and owner {owner.username}."
        )
