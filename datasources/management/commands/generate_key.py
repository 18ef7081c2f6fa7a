"""`manage.py generate_key`: a key for ENCRYPTION_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand

from rivergen.encryption_keys import generate_key


class Command(BaseCommand):
    """Print a new key. Needs no settings: they need a key first."""

    help = (
        "Print a new key for ENCRYPTION_KEYS, the comma-separated list of keys that seal the "
        "secrets of data sources; the first seals, all open. To change the key without downtime: "
        "put the new one behind the old one and restart, put it first and restart, and run "
        "rotate_encryption_key."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(generate_key())
