"""Tests of POST and GET …/schema/refresh, and of how refreshes finish."""

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


class RequestRefreshTests(DataSourceTestCase):
    def setUp(self):
        self.refresh_path = f"{self.path}/schema/refresh"

    def request_refresh(self, status=202, user=None):
        response = self.call("post", self.refresh_path, user=user or self.editor)
        self.assertEqual(response.status_code, status, response.content)
        return response

    def test_refresh_is_accepted_and_shown_at_its_location(self):
        response = self.request_refresh()
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
                "details": {},
                "warnings": [],
                "tables_read": None,
                "tables_total": None,
            },
        )
        shown = self.call("get", self.refresh_path, user=self.viewer).json()["data"]
        self.assertEqual(shown, data)
        self.assertEqual(self.shown()["schema_status"], "refreshing")

    def test_second_refresh_request_returns_the_running_refresh(self):
        first = self.request_refresh().json()["data"]
        self.assertEqual(self.request_refresh(user=self.admin).json()["data"], first)

    def test_refresh_request_after_the_end_starts_a_new_refresh(self):
        first = self.request_refresh().json()["data"]
        SchemaRefresh.objects.get().finish(Code.TCP_REFUSED, DataSource.objects.get())
        second = self.request_refresh(user=self.admin).json()["data"]
        self.assertNotEqual(second["refresh_id"], first["refresh_id"])
        self.assertEqual(second["requested_by_user_id"], self.admin.pk)
        self.assertIsNone(second["code"])

    def test_refresh_changes_neither_version_nor_history(self):
        before = self.shown()
        self.request_refresh()
        refresh(self.data_source, ORDERS)
        after = self.shown()
        self.assertEqual(
            (after["version"], after["updated_at"]), (before["version"], before["updated_at"])
        )
        self.assertEqual(self.data_source.revisions.count(), 1)

    def test_refresh_request_with_a_body_is_refused(self):
        response = self.call("post", self.refresh_path, {"tables": ["a"]}, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "tables")
        self.assertFalse(SchemaRefresh.objects.exists())

    def test_refresh_with_unconfirmed_secrets_is_409(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.call("patch", self.path, {"host": "moved.example.com"}, self.editor)
        self.assert_error(self.request_refresh(409), 409, "CREDENTIALS_UNCONFIRMED")
        self.assertEqual(self.shown()["schema_status"], "unread")

    def test_refreshes_count_toward_the_limit_of_tests(self):
        throttle = mock.patch.multiple(ConnectionTestThrottle, limit=1, seconds=60)
        with throttle:
            self.request_refresh()
            self.request_refresh()  # returns the running refresh, and is not counted
            SchemaRefresh.objects.get().finish(Code.TCP_REFUSED, DataSource.objects.get())
            response = self.request_refresh(429)
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
        self.assertGreater(int(response["Retry-After"]), 0)


class FinishTests(DataSourceTestCase):
    """Tests of finishing a refresh after something else has changed."""

    def setUp(self):
        refresh(self.data_source, ORDERS)
        self.data_source = DataSource.objects.get()
        [self.running] = SchemaRefresh.objects.start([self.data_source])

    def finish(self, *tables):
        self.running.finish(Code.OK, self.data_source, pack((one, None) for one in tables))
        return self.call("get", f"{self.path}/schema/refresh", user=self.viewer).json()["data"]

    def snapshots(self):
        return SchemaSnapshot.objects.count()

    def test_schema_is_discarded_if_the_source_moved_during_the_refresh(self):
        for changes in ({"host": "other.example.com"}, {"schema_name": "other"}):
            with self.subTest(changes):
                self.data_source = DataSource.objects.get()
                [self.running] = SchemaRefresh.objects.start([self.data_source])
                self.call("patch", self.path, changes, self.editor)
                result = self.finish(GONE)
                self.assertEqual((result["ok"], result["code"]), (False, "SOURCE_CHANGED"))
                self.assertIn("again", result["message"])
                self.assertEqual(self.snapshots(), 1)

    def test_schema_is_stored_if_other_fields_changed_during_the_refresh(self):
        self.call("patch", self.path, {"name": "Other", "query_timeout": 5}, self.editor)
        self.assertEqual(self.finish(GONE)["code"], "OK")
        self.assertEqual(self.snapshots(), 2)

    def test_finished_refresh_cannot_change(self):
        self.running.finish(Code.DEADLINE, self.data_source)
        self.assertEqual(self.finish(GONE)["code"], "DEADLINE")
        self.running.advance(1, 2)
        self.assertIsNone(SchemaRefresh.objects.get().tables_read)
        self.assertEqual(self.snapshots(), 1)

    def test_replaced_refresh_changes_nothing(self):
        self.running.finish(Code.DEADLINE, self.data_source)
        [later] = SchemaRefresh.objects.start([self.data_source])
        self.assertIsNone(self.finish(GONE)["finished_at"])
        self.running.advance(1, 2)
        later.refresh_from_db()
        self.assertIsNone(later.tables_read)
        self.assertEqual(self.snapshots(), 1)

    def test_refresh_of_a_deleted_data_source_stores_nothing(self):
        of = DataSource.objects.get()
        self.data_source.delete()
        self.running.finish(Code.OK, of, pack([(GONE, None)]))
        self.assertFalse(SchemaSnapshot.objects.exists())

    def test_deleting_an_organization_deletes_its_stored_schemas(self):
        self.finish(GONE)
        self.acme.delete()
        self.assertFalse(SchemaContent.objects.exists())


class JobTests(DataSourceTestMixin, TransactionTestCase):
    """Tests of the jobs of refreshes that do not reach their source."""

    def setUp(self):
        self.make_world()

    def result(self):
        return self.call("get", f"{self.path}/schema/refresh", user=self.viewer).json()["data"]

    def schedule(self, **changes):
        changes |= {"schema_auto_refresh": True}
        response = self.call("patch", self.path, changes, self.editor)
        self.assertEqual(response.status_code, 200, response.content)

    def test_scheduled_refresh_does_not_use_unconfirmed_secrets(self):
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
    def test_refresh_obeys_the_egress_policy(self):
        self.schedule(host="127.0.0.1")
        enqueue_due()
        run_jobs()
        self.assertEqual(self.result()["code"], "EGRESS_DENIED")

    def test_job_of_a_deleted_data_source_does_nothing(self):
        self.schedule()
        enqueue_due()
        DataSource.objects.get().delete()
        run_jobs()
        self.assertFalse(SchemaRefresh.objects.exists())

    def test_refresh_without_a_job_is_failed(self):
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

    async def test_progress_of_a_reading_is_stored(self):
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
