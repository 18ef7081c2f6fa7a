"""`manage.py add_member`: add a user to an organization."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from organizations.management.organizations import find_organization
from organizations.management.people import add_user_argument, find_or_create_user
from organizations.models import Role
from rivergen.errors import StateConflict


class Command(BaseCommand):
    """Make a user a member of an organization."""

    help = (
        "Add a user to an organization. Example: manage.py add_member acme emil editor --new-user"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", metavar="SLUG", help="short name of the organization")
        parser.add_argument("username", help="who becomes a member")
        parser.add_argument(
            "role",
            choices=Role.values,
            help="role; each role includes the ones before it",
        )
        add_user_argument(parser)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        organization = find_organization(options["organization"])
        user = find_or_create_user(options["username"], options["new_user"])
        try:
            membership = organization.add_member(user, options["role"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except StateConflict as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{user.username} is {membership.role} of {organization.name}.")
