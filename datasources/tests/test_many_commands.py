"""Tests of `manage.py test_data_sources` and `manage.py refresh_schemas`."""

from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase, TransactionTestCase

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import Worker
from datasources.connections.outcome import no_outcome
from datasources.management import many
from datasources.management.commands import test_data_sources
from datasources.management.table import format_table
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.testing import DataSourceTestMixin
from rivergen.testing.services import free_port


class ManyDataSourcesTestCase(DataSourceTestMixin, TransactionTestCase):
    def setUp(self):
        self.make_world()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")
            cursor.execute("DELETE FROM procrastinate_workers")

    def manage(self, *arguments):
        """Run a command, and return its output and its error, or None."""
        output, error = StringIO(), None
        try:
            call_command(*arguments, stdout=output)
        except CommandError as raised:
            error = str(raised)
        return output.getvalue(), error


class WithWorkerTests(ManyDataSourcesTestCase):
    """Three data sources: a file, a server that is down, and one with unconfirmed secrets."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.storage = Path(cls.enterClassContext(TemporaryDirectory())).resolve()

    def setUp(self):
        super().setUp()
        folder = self.storage / str(self.acme.pk)
        folder.mkdir()
        self.addCleanup(folder.rmdir)
        file = folder / "orders.csv"
        file.write_text("id,total\n1,2.5\n")
        self.addCleanup(file.unlink)
        self.file = DataSource.objects.create(
            workspace=self.workspace,
            name="Orders",
            type="csv",
            file_path="orders.csv",
            tags=["a", "c"],
        )
        self.down = DataSource.objects.create(
            workspace=self.workspace,
            name="Down",
            type="clickhouse",
            host="127.0.0.1",
            port=free_port(),
            database_name="shop",
            username="reader",
            tags=["a", "b"],
        )
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)

    def row(self, data_source, result):
        shown = (data_source.pk, "acme", data_source.name, data_source.type, result)
        return r"\s+".join(map(str, shown))

    def test_commands_print_a_result_per_data_source(self):
        with Worker(STORAGE_ROOT=str(self.storage)):
            for command, failed, ok in (
                ("test_data_sources", "Failed to connect", r"OK\s+\S"),
                ("refresh_schemas", "Failed to refresh", r"OK\s+Tables: 1\."),
            ):
                with self.subTest(command):
                    output, error = self.manage(command)
                    titles, *rows = output.splitlines()
                    self.assertRegex(titles, r"^ID +ORGANIZATION +NAME +TYPE +RESULT$")
                    # Sorted by name.
                    self.assertRegex(rows[0], self.row(self.down, r"TCP_REFUSED\s+\S"))
                    self.assertRegex(rows[1], self.row(self.file, ok))
                    self.assertRegex(rows[2], self.row(self.data_source, "CREDENTIALS_UNCONFIRMED"))
                    self.assertEqual(error, f"{failed}: 2 of 3 data sources.")
                    output, error = self.manage(command, "--tag=a", "--status=active")
                    self.assertRegex(output, self.row(self.file, ok))
                    self.assertIsNone(error)
                    self.assertTrue(output.endswith(f"{failed}: 0 of 1 data sources.\n"))
        self.file.refresh_from_db()
        self.down.refresh_from_db()
        self.assertEqual((self.file.status, self.down.status), ("active", "error"))
        self.assertEqual(self.file.schema_snapshots.count(), 1)
        self.assertEqual(self.down.last_test["code"], "TCP_REFUSED")

    def test_test_data_sources_names_what_is_not_protected(self):
        test = ConnectionTest.objects.request(
            self.file.configuration(), of=self.file, is_stored=True
        )
        test.finish(no_outcome("OK") | {"warnings": ["NOT_ENCRYPTED", "SERVER_NOT_VERIFIED"]})
        [result] = test_data_sources.Command().results([test.pk]).values()
        self.assertEqual(result.code, "OK")
        self.assertRegex(result.message, "Warnings: NOT_ENCRYPTED, SERVER_NOT_VERIFIED.$")

    def test_refresh_schemas_waits_for_a_running_refresh(self):
        self.call("post", f"/data-sources/{self.file.pk}/schema/refresh", user=self.editor)
        running = SchemaRefresh.objects.get().refresh_id
        with Worker(STORAGE_ROOT=str(self.storage)):
            output, error = self.manage("refresh_schemas", "--tag=c")
        self.assertIsNone(error, output)
        self.assertEqual(SchemaRefresh.objects.get().refresh_id, running)

    def test_command_options_select_data_sources(self):
        with mock.patch.object(many.ManyDataSourcesCommand, "work_through") as work_through:
            for arguments, expected in (
                ((), [self.down, self.file, self.data_source]),
                (("--organization=acme",), [self.down, self.file, self.data_source]),
                (("--organization=globex",), []),
                (("--tag=a",), [self.down, self.file]),
                (("--tag=a", "--tag=b"), [self.down]),
                (("--status=error",), []),
            ):
                with self.subTest(arguments):
                    work_through.return_value = iter(())
                    self.manage("test_data_sources", *arguments)
                    [ids] = work_through.call_args.args
                    self.assertEqual(ids, [data_source.pk for data_source in expected])


class WithoutWorkerTests(ManyDataSourcesTestCase):
    def test_commands_fail_without_a_worker(self):
        for command in ("test_data_sources", "refresh_schemas"):
            with self.subTest(command):
                self.assertEqual(self.manage(command), ("", many.NO_WORKER))

    def test_no_worker_is_needed_for_zero_data_sources(self):
        output, error = self.manage("test_data_sources", "--tag=none")
        self.assertEqual((output, error), ("Failed to connect: 0 of 0 data sources.\n", None))

    def test_wrong_arguments_of_the_commands_are_named(self):
        for argument, message in (
            ("--organization=nowhere", "no organization nowhere"),
            ("--status=fine", "invalid choice: 'fine'"),
            ("--tga=a", "unrecognized arguments"),
        ):
            with self.subTest(argument):
                _, error = self.manage("refresh_schemas", argument)
                self.assertIn(message, error)

    def test_ctrl_c_stops_a_command_that_waits_for_workers(self):
        with (
            mock.patch("time.sleep", side_effect=KeyboardInterrupt),
            mock.patch.object(many, "has_worker", return_value=True),
        ):
            _, error = self.manage("test_data_sources")
        self.assertEqual(error, "Stopped waiting. Jobs that were started go on.")

    def test_results_so_far_are_printed_when_the_command_fails(self):
        other = DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)
        for has_worker, error in ((False, many.NO_WORKER), (True, many.STOPPED)):
            with (
                self.subTest(error),
                mock.patch("time.sleep", side_effect=KeyboardInterrupt),
                mock.patch.object(many, "has_worker", return_value=has_worker),
            ):
                output, message = self.manage("test_data_sources")
                self.assertEqual(message, error)
                self.assertIn("CREDENTIALS_UNCONFIRMED", output)
                self.assertNotIn(other.name, output)

    def test_a_data_source_deleted_while_waiting_is_no_failure(self):
        def delete(seconds):
            self.data_source.delete()

        with (
            mock.patch("time.sleep", side_effect=delete),
            mock.patch.object(many, "has_worker", return_value=True),
        ):
            output, error = self.manage("test_data_sources")
        self.assertIn("GONE", output)
        self.assertIsNone(error)


class TableTests(SimpleTestCase):
    def test_columns_of_the_printed_table_are_aligned(self):
        rows = [("ID", "NAME", ""), (1, "a", "x"), (100, "long", "")]
        self.assertEqual([*format_table(rows)], ["ID   NAME", "1    a     x", "100  long"])

    def test_control_characters_in_the_printed_table_are_replaced(self):
        self.assertEqual([*format_table([("a\x1b[2J\nb\u202e",)])], ["a?[2J?b?"])
