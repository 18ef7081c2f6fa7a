"""`manage.py generate_key`: print a new key for ENCRYPTION_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand

from rivergen.encryption_keys import generate_key


class Command(BaseCommand):
    """Print a new key, without loading the settings, which need a key first."""

    help = (
        "Print a new key for ENCRYPTION_KEYS, the comma-separated list of keys for the secrets of "
        "data sources: the first key encrypts, all keys decrypt. To change the key without "
        "downtime: append the new key and restart, move it to the front and restart, then run "
        "rotate_encryption_key."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(generate_key())
