"""`manage.py rotate_encryption_key`: seal all secrets by the first key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from datasources.credentials.cipher import key_ring
from datasources.credentials.models import Credential

# Of 64 KiB each at most; a batch is held in memory, and in one statement.
BATCH_SIZE_MAX = 1_000
SHOWN_IDS_MAX = 20


class Command(BaseCommand):
    """Walk through the secrets in batches; the work itself is `CredentialQuerySet.rotate`."""

    help = (
        "Seal again, by the first of ENCRYPTION_KEYS, all secrets that another key has sealed. Run "
        "it once every process has the new key, and remove the old one when it says that none is "
        "left. Safe under load; killed half way, it goes on where it was when it is run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size",
            type=int,
            default=500,
            metavar="N",
            help="secrets per transaction (default: 500)",
        )
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--dry-run", action="store_true", help="say what would be done, and store nothing"
        )
        mode.add_argument(
            "--check", action="store_true", help="only count; exit with 1 if another key is in use"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        batch_size = options["batch_size"]
        if not 1 <= batch_size <= BATCH_SIZE_MAX:
            raise CommandError(f"--batch-size must be from 1 to {BATCH_SIZE_MAX}.")
        if options["dry_run"]:
            self.say_what_would_be_done()
            return
        if not options["check"]:
            self.rotate(batch_size)
        others = Credential.objects.of_other_keys()
        if by_key := others.count_by_key():
            raise CommandError(self.rest(by_key, others.data_source_ids(SHOWN_IDS_MAX)))
        self.stdout.write(f"No secret uses another key than {key_ring().current_id}.")

    def rotate(self, batch_size: int) -> None:
        """Seal them, behind a progress bar if there is a terminal."""
        total = Credential.objects.of_other_keys().count()
        done = 0
        # Only a terminal gets a bar: disable=None.
        with tqdm(total=total, unit=" secrets", disable=None) as progress:
            for number in Credential.objects.rotate(batch_size):
                done += number
                progress.update(number)
        self.stdout.write(f"Secrets sealed by {key_ring().current_id}: {done}.")

    def say_what_would_be_done(self) -> None:
        """Count what could be sealed, by opening each."""
        others = Credential.objects.of_other_keys().with_context()
        readable = sum(credential.is_readable for credential in others.iterator())
        lost = others.count() - readable
        self.stdout.write(f"Secrets to be sealed by {key_ring().current_id}: {readable}.")
        if lost:
            self.stdout.write(f"Cannot be opened, and would stay as they are: {lost}.")

    @staticmethod
    def rest(by_key: dict[str, int], ids: list[int]) -> str:
        """Say how many secrets use which other keys, where, and what to do."""
        number = sum(by_key.values())
        lines = [f"Secrets that use another key than {key_ring().current_id}: {number}."]
        for key_id, count in by_key.items():
            is_gone = "" if key_id in key_ring() else ", which is not in ENCRYPTION_KEYS"
            lines.append(f"  {count} by {key_id}{is_gone}")
        more = " and others" if len(ids) == SHOWN_IDS_MAX else ""
        lines.append(f"Data sources: {', '.join(map(str, ids))}{more}.")
        lines.append("Run it again, with all keys; what stays must be entered anew.")
        return "\n".join(lines)
