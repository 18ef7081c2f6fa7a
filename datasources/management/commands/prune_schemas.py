"""`manage.py prune_schemas`: delete old schema snapshots."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.snapshots.pruning import KEPT_COUNT, KEPT_DAYS, prune

# A hundred years; much larger values overflow a date.
DAYS_MAX = 36_500


class Command(BaseCommand):
    """Delete old snapshots, as workers do every night."""

    help = (
        "Delete schema snapshots that are neither among the last ones nor were current lately, and "
        "contents that no snapshot uses. The latest snapshot of a data source is always kept. "
        "Workers do this every night with the defaults."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--count",
            type=int,
            default=KEPT_COUNT,
            help=f"keep so many snapshots of each data source (default: {KEPT_COUNT})",
        )
        parser.add_argument(
            "--days",
            type=int,
            default=KEPT_DAYS,
            help=f"also keep those that were current within so many days (default: {KEPT_DAYS})",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only count the snapshots to delete"
        )

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
