"""POST and GET …/schema/refresh: asking for a refresh, and what becomes of it."""

import asyncio
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test import TransactionTestCase, override_settings

from datasources.connection_tests.testing import PATIENCE_SECONDS, run_jobs
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.sandbox import Reading, show_progress
from datasources.schemas.snapshots.content import pack
from datasources.schemas.snapshots.models import SchemaContent, SchemaSnapshot
from datasources.schemas.tasks import end_lost_refreshes, enqueue_due
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase, DataSourceTestMixin
from rivergen.egress.rules import parse_rules

ORDERS = table("orders", column("id"))
GONE = table("gone", column("id"))


class AskTests(DataSourceTestCase):
    def setUp(self):
        self.refresh_path = f"{self.path}/schema/refresh"

    def ask(self, status=202, user=None):
        response = self.call("post", self.refresh_path, user=user or self.editor)
        self.assertEqual(response.status_code, status, response.content)
        return response

    def test_is_accepted_and_shown_where_location_says(self):
        response = self.ask()
        self.assertEqual(response["Location"], f"/api/v1{self.refresh_path}")
        data = response.json()["data"]
        self.read_time(data["requested_at"])
        self.assertEqual(
            data,
            {
                "refresh_id": str(SchemaRefresh.objects.get().refresh_id),
                "data_source_id": self.data_source.pk,
                "requested_at": data["requested_at"],
                "requested_by_user_id": self.editor.pk,
                "finished_at": None,
                "ok": None,
                "code": None,
                "message": None,
                "tables_read": None,
                "tables_total": None,
            },
        )
        shown = self.call("get", self.refresh_path, user=self.viewer).json()["data"]
        self.assertEqual(shown, data)
        self.assertEqual(self.shown()["schema_status"], "refreshing")

    def test_a_second_one_is_the_one_that_runs(self):
        first = self.ask().json()["data"]
        self.assertEqual(self.ask(user=self.admin).json()["data"], first)

    def test_one_after_another_is_a_new_one(self):
        first = self.ask().json()["data"]
        SchemaRefresh.objects.get().finish(Code.TCP_REFUSED, DataSource.objects.get())
        second = self.ask(user=self.admin).json()["data"]
        self.assertNotEqual(second["refresh_id"], first["refresh_id"])
        self.assertEqual(second["requested_by_user_id"], self.admin.pk)
        self.assertIsNone(second["code"])

    def test_moves_neither_the_version_nor_the_history(self):
        before = self.shown()
        self.ask()
        refresh(self.data_source, ORDERS)
        after = self.shown()
        self.assertEqual(
            (after["version"], after["updated_at"]), (before["version"], before["updated_at"])
        )
        self.assertEqual(self.data_source.revisions.count(), 1)

    def test_a_body_is_refused(self):
        response = self.call("post", self.refresh_path, {"tables": ["a"]}, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "tables")
        self.assertFalse(SchemaRefresh.objects.exists())

    def test_moved_secrets_are_not_used(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.call("patch", self.path, {"host": "moved.example.com"}, self.editor)
        self.assert_error(self.ask(409), 409, "CREDENTIALS_UNCONFIRMED")
        self.assertEqual(self.shown()["schema_status"], "unread")

    def test_each_counts_as_a_test(self):
        throttle = mock.patch.multiple(ConnectionTestThrottle, limit=1, seconds=60)
        with throttle:
            self.ask()
            self.ask()  # it runs: nothing is set going
            SchemaRefresh.objects.get().finish(Code.TCP_REFUSED, DataSource.objects.get())
            response = self.ask(429)
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
        self.assertGreater(int(response["Retry-After"]), 0)


class FinishTests(DataSourceTestCase):
    """How the last refresh ends, whatever has happened meanwhile."""

    def setUp(self):
        refresh(self.data_source, ORDERS)
        self.data_source = DataSource.objects.get()
        [self.running] = SchemaRefresh.objects.start([self.data_source])

    def finish(self, *tables):
        self.running.finish(Code.OK, self.data_source, pack((one, None) for one in tables))
        return self.call("get", f"{self.path}/schema/refresh", user=self.viewer).json()["data"]

    def snapshots(self):
        return SchemaSnapshot.objects.count()

    def test_what_is_found_elsewhere_by_now_is_dropped(self):
        for changes in ({"host": "other.example.com"}, {"schema_name": "other"}):
            with self.subTest(changes):
                self.data_source = DataSource.objects.get()
                [self.running] = SchemaRefresh.objects.start([self.data_source])
                self.call("patch", self.path, changes, self.editor)
                result = self.finish(GONE)
                self.assertEqual((result["ok"], result["code"]), (False, "SOURCE_CHANGED"))
                self.assertIn("again", result["message"])
                self.assertEqual(self.snapshots(), 1)

    def test_what_is_found_there_still_is_kept(self):
        self.call("patch", self.path, {"name": "Other", "query_timeout": 5}, self.editor)
        self.assertEqual(self.finish(GONE)["code"], "OK")
        self.assertEqual(self.snapshots(), 2)

    def test_one_that_has_ended_changes_nothing_any_more(self):
        self.running.finish(Code.DEADLINE, self.data_source)
        self.assertEqual(self.finish(GONE)["code"], "DEADLINE")
        self.running.advance(1, 2)
        self.assertIsNone(SchemaRefresh.objects.get().tables_read)
        self.assertEqual(self.snapshots(), 1)

    def test_one_that_is_not_the_last_changes_nothing(self):
        self.running.finish(Code.DEADLINE, self.data_source)
        [later] = SchemaRefresh.objects.start([self.data_source])
        self.assertIsNone(self.finish(GONE)["finished_at"])
        self.running.advance(1, 2)
        later.refresh_from_db()
        self.assertIsNone(later.tables_read)
        self.assertEqual(self.snapshots(), 1)

    def test_a_data_source_that_is_gone_leaves_nothing_to_do(self):
        of = DataSource.objects.get()
        self.data_source.delete()
        self.running.finish(Code.OK, of, pack([(GONE, None)]))
        self.assertFalse(SchemaSnapshot.objects.exists())

    def test_an_organization_is_deleted_with_all_that_was_read(self):
        self.finish(GONE)
        self.acme.delete()
        self.assertFalse(SchemaContent.objects.exists())


class JobTests(DataSourceTestMixin, TransactionTestCase):
    """What the worker makes of a refresh, up to where a source is reached."""

    def setUp(self):
        self.make_world()

    def result(self):
        return self.call("get", f"{self.path}/schema/refresh", user=self.viewer).json()["data"]

    def schedule(self, **changes):
        changes |= {"schema_auto_refresh": True}
        response = self.call("patch", self.path, changes, self.editor)
        self.assertEqual(response.status_code, 200, response.content)

    def test_one_by_schedule_uses_no_moved_secrets(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.schedule(host="moved.example.com")
        enqueue_due()
        run_jobs()
        result = self.result()
        self.assertEqual(
            (result["code"], result["requested_by_user_id"]), ("CREDENTIALS_UNCONFIRMED", None)
        )
        self.assertEqual(self.shown()["schema_status"], "failed")

    @override_settings(EGRESS_ALLOW=parse_rules("192.0.2.0/24"))
    def test_goes_nowhere_that_is_not_allowed(self):
        self.schedule(host="127.0.0.1")
        enqueue_due()
        run_jobs()
        self.assertEqual(self.result()["code"], "EGRESS_DENIED")

    def test_a_data_source_that_is_deleted_meanwhile_is_forgotten(self):
        self.schedule()
        enqueue_due()
        DataSource.objects.get().delete()
        run_jobs()
        self.assertFalse(SchemaRefresh.objects.exists())

    def test_one_whose_job_is_gone_is_ended(self):
        other = DataSource.objects.create(
            workspace=self.workspace, name="Other", type="csv", schema_auto_refresh=True
        )
        self.schedule()
        enqueue_due()
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM procrastinate_jobs WHERE args ->> 'data_source_id' = %s",
                [str(self.data_source.pk)],
            )
        self.schedule(host="moved.example.com")
        async_to_sync(end_lost_refreshes.func)(timestamp=0)
        self.assertEqual(self.result()["code"], "DRIVER_CRASHED")
        self.assertEqual([*DataSource.objects.due_for_refresh()], [self.data_source])
        self.assertEqual(self.shown()["schema_status"], "failed")
        self.assertIsNone(SchemaRefresh.objects.get(data_source=other).finished_at)

    async def test_shows_how_far_it_is(self):
        [running] = await sync_to_async(SchemaRefresh.objects.start)([self.data_source])
        reading = Reading(mock.Mock(connection_timeout=10))
        loop, is_stored, advance = asyncio.get_running_loop(), asyncio.Event(), running.advance

        def store(*numbers):
            advance(*numbers)
            loop.call_soon_threadsafe(is_stored.set)

        running.advance = store
        progress = asyncio.create_task(show_progress(reading, running))
        reading.take({"tables_read": 100, "tables_total": 250})
        await asyncio.wait_for(is_stored.wait(), PATIENCE_SECONDS)
        progress.cancel()
        result = await sync_to_async(self.result)()
        self.assertEqual((result["tables_read"], result["tables_total"]), (100, 250))
