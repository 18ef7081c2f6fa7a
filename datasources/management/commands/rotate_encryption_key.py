"""`manage.py rotate_encryption_key`: seal all secrets with the first key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from datasources.credentials.cipher import key_ring
from datasources.credentials.models import Credential

# A secret has up to 64 KiB; a batch is held in memory and in one statement.
BATCH_SIZE_MAX = 1_000
SHOWN_IDS_MAX = 20


class Command(BaseCommand):
    """Seal all secrets with the current key, in batches, by `CredentialQuerySet.rotate`."""

    help = (
        "Seal all secrets that another key has sealed with the first of ENCRYPTION_KEYS. Run it "
        "when every process has the new key; remove the old key when no secret uses it any more. "
        "Safe under load. If it is interrupted, run it again: it continues where it stopped."
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
            "--dry-run", action="store_true", help="count the secrets to seal, and store nothing"
        )
        mode.add_argument(
            "--check",
            action="store_true",
            help="exit with 1 if a secret uses another key",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        batch_size = options["batch_size"]
        if not 1 <= batch_size <= BATCH_SIZE_MAX:
            raise CommandError(f"--batch-size must be from 1 to {BATCH_SIZE_MAX}.")
        if options["dry_run"]:
            self.print_dry_run()
            return
        if not options["check"]:
            self.rotate(batch_size)
        others = Credential.objects.of_other_keys()
        if by_key := others.count_by_key():
            raise CommandError(self.describe_rest(by_key, others.data_source_ids(SHOWN_IDS_MAX)))
        self.stdout.write(f"All secrets are sealed by {key_ring().current_id}.")

    def rotate(self, batch_size: int) -> None:
        """Seal the secrets, with a progress bar on a terminal."""
        total = Credential.objects.of_other_keys().count()
        done = 0
        # disable=None shows the bar on a terminal only.
        with tqdm(total=total, unit=" secrets", disable=None) as progress:
            for number in Credential.objects.rotate(batch_size):
                done += number
                progress.update(number)
        self.stdout.write(f"Secrets sealed by {key_ring().current_id}: {done}.")

    def print_dry_run(self) -> None:
        """Print how many secrets can be opened, and so sealed again, and how many cannot."""
        others = Credential.objects.of_other_keys().with_context()
        readable = sum(credential.is_readable for credential in others.iterator())
        lost = others.count() - readable
        self.stdout.write(f"Secrets to seal by {key_ring().current_id}: {readable}.")
        if lost:
            self.stdout.write(f"Secrets that no key opens, which would stay unchanged: {lost}.")

    @staticmethod
    def describe_rest(by_key: dict[str, int], ids: list[int]) -> str:
        """Return a message: how many secrets use other keys, of which data sources, what to do."""
        number = sum(by_key.values())
        lines = [f"Secrets not sealed by {key_ring().current_id}: {number}."]
        for key_id, count in by_key.items():
            missing = "" if key_id in key_ring() else ", which is not in ENCRYPTION_KEYS"
            lines.append(f"  {count} by {key_id}{missing}")
        more = " and others" if len(ids) == SHOWN_IDS_MAX else ""
        lines.append(f"Data sources: {', '.join(map(str, ids))}{more}.")
        lines.append("Run this again with all keys. Secrets that remain must be entered again.")
        return "\n".join(lines)
