"""Tests of the refresh schedule: how changes move it, and how due refreshes are enqueued."""

import json
from datetime import timedelta

import time_machine
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import SimpleTestCase
from django.utils import timezone

from datasources.connections.failures import Code
from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.models.field_names import SCHEMA_FIELDS
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.schedule import (
    BACKOFF_BASE_MAX_SECONDS,
    BACKOFF_MAX_SECONDS,
    JITTER,
    backoff,
)
from datasources.schemas.tasks import enqueue_due, store_crash
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase
from rivergen.http.input import entity_tag

ORDERS = table("orders", column("id"))
ON = {"schema_auto_refresh": True}
READ_CHANGES = {
    "host": "b.example.com",
    "port": 5433,
    "database_name": "other",
    "schema_name": "other",
    "connection_string": "postgresql://c.example.com/other",
    "file_path": "other.csv",
    "use_ssh_tunnel": True,
    "ssh_host": "b.example.com",
    "ssh_port": 2222,
    "ssh_username": "other",
    "ssh_local_port": 4000,
}
UNREAD_CHANGES = {
    "name": "Other",
    "description": "Other",
    "connection_pool_size": 6,
    "connection_timeout": 31,
    "query_timeout": 301,
    "max_retries": 4,
    "schema_refresh_interval": 600,
    "metadata": {"team": "data"},
    "tags": ["other"],
}


class BackoffTests(SimpleTestCase):
    def test_backoff_doubles_up_to_a_limit(self):
        waits = [backoff(60, failures) for failures in (1, 2, 3, 11, 99)]
        self.assertEqual(waits, [120, 240, 480, BACKOFF_MAX_SECONDS, BACKOFF_MAX_SECONDS])

    def test_backoff_starts_with_hours_for_any_interval(self):
        self.assertEqual(backoff(30 * 86_400, 1), 2 * BACKOFF_BASE_MAX_SECONDS)


class ScheduleTests(DataSourceTestCase):
    def setUp(self):
        self.now = timezone.now()
        self.traveller = self.enterContext(time_machine.travel(self.now, tick=False))

    def pass_time(self, seconds):
        """Move the clock forward, and return the new time."""
        self.traveller.shift(seconds)
        return timezone.now()

    def patch(self, **changes):
        """Send a PATCH, and return `schema_next_refresh_at` of its answer."""
        response = self.call("patch", self.path, changes, self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        data = response.json()["data"]
        self.assertEqual(data, self.shown())
        return data["schema_next_refresh_at"] and self.read_time(data["schema_next_refresh_at"])

    def fail_refresh(self, code=Code.TCP_REFUSED):
        """Start a refresh, and finish it as failed."""
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        [running] = SchemaRefresh.objects.start([data_source])
        running.finish(code, data_source)

    def next_refresh_at(self):
        return DataSource.objects.get(pk=self.data_source.pk).schema_next_refresh_at

    def jobs(self):
        """Return the arguments and the priority of each refresh job."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT args, priority FROM procrastinate_jobs WHERE task_name = 'refresh_schema'"
                " ORDER BY id"
            )
            return [(json.loads(arguments), priority) for arguments, priority in cursor]

    def test_schedule_is_off_by_default(self):
        data = self.shown()
        self.assertEqual(
            (data["schema_status"], data["schema_refreshed_at"], data["schema_next_refresh_at"]),
            ("unread", None, None),
        )

    def test_switching_the_schedule_on_makes_a_refresh_due_at_once(self):
        self.assertEqual(self.patch(**ON), self.now)
        self.assertIsNone(self.patch(schema_auto_refresh=False))
        body = {"name": "New", "type": "csv", "file_path": "a.csv", **ON}
        data = self.call("post", "/data-sources", body, self.editor).json()["data"]
        self.assertEqual(self.read_time(data["schema_next_refresh_at"]), self.now)

    def test_next_refresh_is_an_interval_after_the_last(self):
        refresh(self.data_source, ORDERS)
        hour, day = timedelta(hours=1), timedelta(days=1)
        self.pass_time(60)
        self.assertEqual(self.patch(**ON), self.now + hour)
        self.assertEqual(self.patch(schema_refresh_interval=86_400), self.now + day)
        later = self.pass_time(600)
        self.assertEqual(self.patch(schema_refresh_interval=60), later)

    def test_unrelated_changes_do_not_move_the_next_refresh(self):
        self.patch(**ON)
        refresh(self.data_source, ORDERS)
        planned = self.next_refresh_at()
        self.pass_time(60)
        self.assertEqual(self.patch(name="Other", tags=["a"], query_timeout=5), planned)
        self.assertEqual(self.patch(**ON), planned)

    def test_moving_the_source_makes_a_refresh_due_at_once(self):
        self.patch(**ON)
        for changes in (
            {"host": "other.example.com"},
            {"port": 5433},
            {"database_name": "other"},
            {"schema_name": None},
            {"connection_string": "postgresql://db.example.com/x"},
        ):
            refresh(self.data_source, ORDERS)
            self.assertGreater(self.next_refresh_at(), timezone.now())
            with self.subTest(changes):
                now = self.pass_time(60)
                self.assertEqual(self.patch(**changes), now)

    def test_changing_or_confirming_secrets_makes_a_refresh_due_at_once(self):
        self.patch(**ON)
        path = f"{self.path}/credentials"
        for method, target, user in (
            ("patch", path, self.editor),
            ("post", f"{path}/confirm", self.admin),
        ):
            if method == "post":
                self.patch(host="moved.example.com")
            data_source = DataSource.objects.get(pk=self.data_source.pk)
            refresh(data_source, ORDERS)
            now = self.pass_time(60)
            body = {"password": "hunter2"} if method == "patch" else None
            with self.subTest(target):
                version = entity_tag(data_source.version)
                response = self.call(method, target, body, user, headers={"If-Match": version})
                self.assertEqual(response.status_code, 200, response.content)
                self.assertEqual(self.next_refresh_at(), now)

    def test_next_refresh_is_after_the_interval_with_jitter(self):
        self.patch(**ON, schema_refresh_interval=600)
        waits = set()
        for _ in range(20):
            refresh(self.data_source, ORDERS)
            waits.add((self.next_refresh_at() - timezone.now()).total_seconds())
        self.assertGreaterEqual(min(waits), 600)
        self.assertLessEqual(max(waits), 600 * (1 + JITTER))
        self.assertGreater(len(waits), 1)

    def test_wait_doubles_after_each_failure_and_resets_after_success(self):
        self.patch(**ON, schema_refresh_interval=60)
        for wait in (120, 240, 480):
            self.fail_refresh()
            seconds = (self.next_refresh_at() - timezone.now()).total_seconds()
            self.assertTrue(wait <= seconds <= wait * (1 + JITTER), seconds)
            self.assertEqual(self.shown()["schema_status"], "failed")
        refresh(self.data_source, ORDERS)
        self.fail_refresh()
        self.assertLess((self.next_refresh_at() - timezone.now()).total_seconds(), 150)

    def test_wait_after_failures_is_at_most_a_day_with_jitter(self):
        self.patch(**ON)
        self.fail_refresh()
        SchemaRefresh.objects.update(failures=99)
        waits = set()
        for _ in range(20):
            self.fail_refresh()
            waits.add(self.next_refresh_at() - timezone.now())
        self.assertLessEqual(max(waits), timedelta(days=1))
        self.assertGreater(min(waits), timedelta(hours=21))
        self.assertEqual(len(waits), 20)

    def test_failed_refresh_keeps_the_last_snapshot_and_its_time(self):
        refresh(self.data_source, ORDERS)
        before = self.shown()
        self.pass_time(60)
        self.fail_refresh()
        after = self.shown()
        self.assertEqual(after.pop("schema_status"), "failed")
        before.pop("schema_status")
        self.assertEqual(after, before)
        self.assertEqual(self.call("get", f"{self.path}/schema", user=self.viewer).status_code, 200)

    def test_switching_the_schedule_off_during_a_refresh_ends_it(self):
        self.patch(**ON)
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        [running] = SchemaRefresh.objects.start([data_source])
        self.assertIsNone(self.patch(schema_auto_refresh=False))
        running.finish(Code.TCP_REFUSED, data_source)
        self.assertIsNone(self.next_refresh_at())

    def test_changing_the_source_during_a_refresh_makes_the_next_due_at_once(self):
        self.patch(**ON)
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        [running] = SchemaRefresh.objects.start([data_source])
        self.patch(port=5433)
        now = self.pass_time(5)
        running.finish(Code.TCP_REFUSED, data_source)
        self.assertEqual(self.next_refresh_at(), now)

    def test_crashed_refresh_is_due_at_once_only_if_the_source_changed(self):
        for changes in ({"host": "other.example.com"}, {}):
            self.patch(**ON)
            enqueue_due()
            [(arguments, _)] = self.jobs()[-1:]
            self.patch(**changes)
            now = self.pass_time(5)
            async_to_sync(store_crash)(**arguments)
            with self.subTest(changes):
                self.assertEqual(self.shown()["schema_status"], "failed")
                self.assertEqual(self.next_refresh_at() == now, bool(changes))

    def test_changing_what_is_not_read_during_a_refresh_does_not_make_the_next_due_at_once(self):
        self.patch(**ON)
        for name, value in UNREAD_CHANGES.items():
            for code in (Code.OK, Code.TCP_REFUSED, Code.SOURCE_CHANGED, Code.DRIVER_CRASHED):
                data_source = DataSource.objects.get(pk=self.data_source.pk)
                [running] = SchemaRefresh.objects.start([data_source])
                self.patch(**{name: value, "description": f"{name} {code}"})
                now = self.pass_time(5)
                running.finish(code, None if code == Code.DRIVER_CRASHED else data_source)
                with self.subTest(name=name, code=code):
                    self.assertGreater(self.next_refresh_at(), now + timedelta(seconds=60))

    def test_each_change_of_what_is_read_during_a_refresh_makes_the_next_due_at_once(self):
        self.patch(**ON)
        updatable = [field for field in UPDATABLE_FIELDS if field in SCHEMA_FIELDS]
        self.assertEqual({*updatable, *UNREAD_CHANGES, "schema_auto_refresh"}, {*UPDATABLE_FIELDS})
        for field in updatable:
            data_source = DataSource.objects.get(pk=self.data_source.pk)
            [running] = SchemaRefresh.objects.start([data_source])
            tunnel = {"ssh_host": "a.example.com", "ssh_username": "me"}
            self.patch(**tunnel | {field: READ_CHANGES[field]})
            self.patch(description=f"Other than {field}")
            now = self.pass_time(5)
            running.finish(Code.TCP_REFUSED, data_source)
            with self.subTest(field):
                self.assertEqual(self.next_refresh_at(), now)

    def test_due_refresh_is_enqueued_once(self):
        self.patch(**ON)
        self.assertEqual((enqueue_due(), enqueue_due()), (1, 0))
        [(arguments, _)] = self.jobs()
        running = SchemaRefresh.objects.get()
        self.assertEqual(
            arguments,
            {"data_source_id": self.data_source.pk, "refresh_id": str(running.refresh_id)},
        )
        self.assertIsNone(running.requested_by)
        self.assertEqual(self.shown()["schema_status"], "refreshing")

    def test_refresh_is_not_enqueued_before_it_is_due(self):
        refresh(self.data_source, ORDERS)
        self.patch(**ON)
        self.assertEqual(enqueue_due(), 0)
        self.pass_time(3600)
        self.assertEqual(enqueue_due(), 1)

    def test_changes_during_a_refresh_do_not_enqueue_a_second_job(self):
        self.patch(**ON)
        enqueue_due()
        for changes in ({"schema_auto_refresh": False}, ON, {"port": 1}, {"schema_name": "x"}):
            self.patch(**changes)
            self.pass_time(60)
            self.assertEqual(enqueue_due(), 0)
        path = f"{self.path}/schema/refresh"
        response = self.call("post", path, user=self.editor)
        self.assertEqual(response.status_code, 202)
        [(arguments, _)] = self.jobs()
        self.assertEqual(response.json()["data"]["refresh_id"], arguments["refresh_id"])

    def test_requested_at_is_the_due_time_for_the_schedule_and_now_for_a_user(self):
        due = self.patch(**ON)
        self.pass_time(3600)
        enqueue_due()
        self.assertEqual(SchemaRefresh.objects.get().requested_at, due)
        refresh(self.data_source, ORDERS)
        now = self.pass_time(2 * self.data_source.schema_refresh_interval)
        self.call("post", f"{self.path}/schema/refresh", user=self.editor)
        self.assertEqual(SchemaRefresh.objects.get().requested_at, now)

    def test_organization_with_fewer_refreshes_comes_first(self):
        for number in range(3):
            body = {"name": f"New {number}", "type": "csv", "file_path": "a.csv", **ON}
            self.call("post", "/data-sources", body, self.editor)
        body = {"name": "Theirs", "type": "csv", "file_path": "a.csv", **ON}
        theirs = self.call("post", "/data-sources", body, self.stranger).json()["data"]["id"]
        self.assertEqual(enqueue_due(), 4)
        priorities = [priority for _, priority in self.jobs()]
        self.assertEqual(sorted(priorities), [-2, -1, 0, 0])
        [priority] = [
            priority for arguments, priority in self.jobs() if arguments["data_source_id"] == theirs
        ]
        self.assertEqual(priority, 0)

    def plan_of(self, queryset):
        """Return the plan of a query among 500 other data sources, none of which is due."""
        now = timezone.now()
        data_sources = DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=f"Source {number}", type="csv")
            for number in range(500)
        )
        SchemaRefresh.objects.bulk_create(
            SchemaRefresh(data_source=one, version=1, requested_at=now, finished_at=now)
            for one in data_sources
        )
        with connection.cursor() as cursor:
            # ANALYZE first: outdated statistics of other tests could lead to another plan.
            cursor.execute("ANALYZE datasources_datasource, datasources_schemarefresh")
            cursor.execute("SET LOCAL enable_seqscan = off")
            return queryset.explain()

    def test_due_refreshes_are_found_by_an_index(self):
        plan = self.plan_of(DataSource.objects.due_for_refresh())
        self.assertIn("data_source_due_for_refresh", plan)

    def test_overdue_refreshes_are_found_by_indexes(self):
        plan = self.plan_of(DataSource.objects.overdue_for_refresh())
        self.assertIn("data_source_due_for_refresh", plan)
        self.assertIn("schema_refresh_waiting", plan)
