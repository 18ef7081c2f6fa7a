"""`manage.py prune_schemas`: delete old snapshots of schemas."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.snapshots.pruning import KEPT_COUNT, KEPT_DAYS, prune

# A hundred years: far more days ago there is no date.
DAYS_MAX = 36_500


class Command(BaseCommand):
    """Delete what is not to be kept; the worker does it every night, too."""

    help = (
        "Delete the snapshots of schemas that are too many or too old, and the contents that no "
        "snapshot has any more. The last snapshot of a data source always stays. Workers do it "
        "every night by the defaults."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--count",
            type=int,
            default=KEPT_COUNT,
            help=f"keep so many of each data source (default: {KEPT_COUNT})",
        )
        parser.add_argument(
            "--days",
            type=int,
            default=KEPT_DAYS,
            help="keep what was replaced by the next snapshot in the last so many days "
            f"(default: {KEPT_DAYS})",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count the snapshots")

    def handle(self, *args: Any, **options: Any) -> None:
        count, days = options["count"], options["days"]
        if count < 1 or not 0 <= days <= DAYS_MAX:
            raise CommandError(f"--count must be 1 or more, and --days 0 to {DAYS_MAX:,}.")
        if options["dry_run"]:
            number = SchemaSnapshot.objects.outdated(count, days).count()
            self.stdout.write(f"Snapshots to delete: {number}.")
            return
        snapshots, contents = prune(count, days)
        self.stdout.write(f"Snapshots deleted: {snapshots}; contents deleted: {contents}.")
