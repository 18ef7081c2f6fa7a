"""Tests of pruning snapshots, by the nightly job and by `manage.py prune_schemas`."""

from datetime import timedelta
from io import StringIO
from unittest import mock

import time_machine
from django.core.management import CommandError, call_command
from django.test import TransactionTestCase
from django.utils import timezone

from datasources.connection_tests.testing import defer_periodic, run_jobs
from datasources.management.commands.prune_schemas import DAYS_MAX
from datasources.models import DataSource
from datasources.schemas import tasks
from datasources.schemas.snapshots import pruning
from datasources.schemas.snapshots.models import SchemaBlock, SchemaContent
from datasources.schemas.snapshots.pruning import KEPT_COUNT, KEPT_DAYS, prune
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase, DataSourceTestMixin


class PruneTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.traveller = self.enterContext(time_machine.travel(timezone.now(), tick=False))
        self.other = DataSource.objects.create(
            workspace=self.workspace, name="Other", type="csv", file_path="a.csv"
        )

    def make_snapshots(self, *names: str, data_source: DataSource | None = None) -> None:
        """Store a snapshot for each name, a day apart."""
        for name in names:
            self.traveller.shift(timedelta(days=1))
            refresh(data_source or self.data_source, table(name, column("id")))

    def kept_numbers(self, data_source: DataSource | None = None) -> list[int]:
        """Return the numbers of the snapshots that are kept."""
        snapshots = (data_source or self.data_source).schema_snapshots
        return [*snapshots.values_list("number", flat=True)]

    def test_prune_keeps_the_last_snapshots_of_each_data_source(self) -> None:
        self.make_snapshots("a", "b", "c")
        self.make_snapshots("d", "e", data_source=self.other)
        self.assertEqual(prune(count=2, days=0), (1, 1))
        self.assertEqual((self.kept_numbers(), self.kept_numbers(self.other)), ([3, 2], [2, 1]))

    def test_prune_goes_by_the_time_at_which_a_snapshot_was_replaced(self) -> None:
        self.make_snapshots("a", "b", "c")  # three days, two days and a day old on the next day
        self.traveller.shift(timedelta(days=1, seconds=1))
        self.assertEqual(prune(count=1, days=2), (1, 1))
        self.assertEqual(self.kept_numbers(), [3, 2])

    def test_prune_never_deletes_the_last_snapshot(self) -> None:
        self.make_snapshots("a")
        self.traveller.shift(timedelta(days=10 * KEPT_DAYS))
        self.assertEqual(prune(count=1, days=0), (0, 0))
        self.assertEqual(self.kept_numbers(), [1])

    def test_prune_keeps_the_last_100_snapshots_however_old_they_are(self) -> None:
        self.make_snapshots(*(f"t{number}" for number in range(102)))
        self.traveller.shift(timedelta(days=10 * KEPT_DAYS))
        self.assertEqual(prune(), (2, 2))
        self.assertEqual(self.kept_numbers(), [*range(102, 2, -1)])

    def test_prune_keeps_all_snapshots_that_were_current_in_the_last_365_days(self) -> None:
        self.make_snapshots(*(f"t{number}" for number in range(130)))
        self.assertEqual(prune(), (0, 0))
        # The third was replaced by the fourth, 126 days before the last one.
        self.traveller.shift(timedelta(days=KEPT_DAYS - 126))
        self.assertEqual(prune(), (2, 2))
        self.assertEqual(len(self.kept_numbers()), 128)

    def test_numbers_of_pruned_snapshots_are_not_reused(self) -> None:
        self.make_snapshots("a", "b")
        self.traveller.shift(1)
        prune(count=1, days=0)
        self.make_snapshots("c")
        self.assertEqual(self.kept_numbers(), [3, 2])

    def test_schema_content_is_deleted_with_its_last_snapshot(self) -> None:
        self.make_snapshots("a", "b")
        self.make_snapshots("a", data_source=self.other)
        self.traveller.shift(1)
        self.assertEqual(prune(count=1, days=0), (1, 0))
        self.other.delete()
        self.assertEqual(prune(count=1, days=0), (0, 1))
        self.assertEqual((SchemaContent.objects.count(), SchemaBlock.objects.count()), (1, 1))

    def test_schema_contents_are_deleted_in_batches(self) -> None:
        self.make_snapshots(*"abcdefg")
        with mock.patch.object(pruning, "CONTENTS_AT_ONCE", 2):
            self.traveller.shift(1)
            self.assertEqual(prune(count=1, days=0), (6, 6))

    def test_prune_command_prints_the_number_of_deleted_rows(self) -> None:
        self.make_snapshots("a", "b", "c")
        for arguments, output in (
            (["--count=2", "--days=0", "--dry-run"], "Snapshots to delete: 1.\n"),
            (["--count=2", "--days=0"], "Snapshots deleted: 1; contents deleted: 1.\n"),
            (["--count=1", "--days=0", "--dry-run"], "Snapshots to delete: 1.\n"),
            (["--count=2", "--days=0"], "Snapshots deleted: 0; contents deleted: 0.\n"),
            (["--count=1"], "Snapshots deleted: 0; contents deleted: 0.\n"),
            (["--days=0"], "Snapshots deleted: 0; contents deleted: 0.\n"),
            (["--count=1", f"--days={DAYS_MAX}"], "Snapshots deleted: 0; contents deleted: 0.\n"),
            ([f"--count={10**20}"], "Snapshots deleted: 0; contents deleted: 0.\n"),
            ([], "Snapshots deleted: 0; contents deleted: 0.\n"),
        ):
            with self.subTest(arguments):
                self.traveller.shift(1)
                stdout = StringIO()
                call_command("prune_schemas", *arguments, stdout=stdout)
                self.assertEqual(stdout.getvalue(), output)

    def test_prune_command_refuses_invalid_arguments(self) -> None:
        self.make_snapshots("a", "b")
        for argument in (
            *("--count=0", "--count=-1", "--count=x"),
            *("--days=-1", f"--days={DAYS_MAX + 1}", "--days=800000", f"--days={10**20}"),
        ):
            with self.subTest(argument), self.assertRaises(CommandError):
                call_command("prune_schemas", argument)
        self.assertEqual(self.kept_numbers(), [2, 1])


class NightlyJobTests(DataSourceTestMixin, TransactionTestCase):
    def test_worker_prunes_snapshots(self) -> None:
        self.make_world()
        for number in range(KEPT_COUNT + 2):
            refresh(self.data_source, table(f"t{number}", column("id")))
        long_ago = timezone.now() - timedelta(days=KEPT_DAYS + 1)
        self.data_source.schema_snapshots.update(read_at=long_ago)
        defer_periodic(tasks.prune_schemas)
        run_jobs()
        self.assertEqual(self.data_source.schema_snapshots.count(), KEPT_COUNT)
