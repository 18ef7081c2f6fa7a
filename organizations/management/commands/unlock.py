"""`manage.py unlock`: end a lockout after too many wrong passwords."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from organizations.sign_in.attempts import unlock


class Command(BaseCommand):
    """Delete the counters of failed sign-ins of a user or an address."""

    help = (
        "End the lockout of a user or an address after too many wrong passwords. "
        "Examples: manage.py unlock olivia; manage.py unlock --address 203.0.113.7"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        either = parser.add_mutually_exclusive_group(required=True)
        either.add_argument("username", nargs="?", help="exactly as entered (case matters)")
        either.add_argument("--address", help="as the web sees it (see NUM_PROXIES)")

    def handle(self, *args: Any, **options: Any) -> None:
        username, address = options["username"], options["address"]
        name = address or username
        if unlock(username, address):
            self.stdout.write(f"{name} can sign in again.")
        else:
            self.stdout.write(f"{name} has no failed attempts within the last hour.")
