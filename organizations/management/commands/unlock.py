"""`manage.py unlock`: let somebody sign in again who was locked out by wrong passwords."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from organizations.sign_in.attempts import unlock


class Command(BaseCommand):
    """Forget the failed attempts to sign in of a user, or from an address."""

    help = (
        "Let a user, or an address, sign in again at once after too many wrong passwords. "
        "Examples: manage.py unlock olivia; manage.py unlock --address 203.0.113.7"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        either = parser.add_mutually_exclusive_group(required=True)
        either.add_argument("username", nargs="?", help="as it is entered, capitals and all")
        either.add_argument("--address", help="as the web sees it: see NUM_PROXIES")

    def handle(self, *args: Any, **options: Any) -> None:
        username, address = options["username"], options["address"]
        name = address or username
        if unlock(username, address):
            self.stdout.write(f"{name} may try again.")
        else:
            self.stdout.write(f"{name} had not failed within the last hour.")
