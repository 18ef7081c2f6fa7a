"""Tests of the metrics of jobs, connection tests, schemas and workers."""

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue_due
from datasources.testing import DataSourceTestCase
from organizations.idempotency.models import RECORD_BYTES
from organizations.models import Organization
from rivergen.testing.metrics import parse_metrics


class MetricsTests(DataSourceTestCase):
    def scrape(self) -> dict[str, float]:
        return parse_metrics(self.client.get("/metrics").content.decode())

    def make_job(self, task: str, status: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES "
                "('express', %s, %s::procrastinate_job_status)",
                [task, status],
            )

    def make_lanes(self, number: int, age: timedelta) -> None:
        with connection.cursor() as cursor:
            for _ in range(number):
                cursor.execute(
                    "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)",
                    [timezone.now() - age],
                )

    def make_test(self, code: Code | None, **columns: Any) -> None:
        test = ConnectionTest.objects.request(
            Configuration("csv"), of=self.data_source, is_stored=True
        )
        if code is not None:
            columns |= {"finished_at": timezone.now(), "outcome": {"code": code}}
        ConnectionTest.objects.filter(pk=test.pk).update(**columns)

    def schedule(self, name: str, late: timedelta) -> None:
        data_source = DataSource.objects.create(workspace=self.workspace, name=name, type="csv")
        DataSource.objects.filter(pk=data_source.pk).record_schema(
            schema_next_refresh_at=timezone.now() - late
        )

    def test_jobs_are_counted_by_task_and_state(self):
        for status in ("todo", "todo", "doing", "failed", "succeeded", "cancelled"):
            self.make_job("read_schema", status)
        self.make_job("of_another_release", "todo")
        metrics = self.scrape()
        for task, state, expected in (
            ("read_schema", "waiting", 2),
            ("read_schema", "running", 1),
            ("read_schema", "failed", 1),
            ("of_another_release", "waiting", 1),
            ("of_another_release", "failed", 0),
            ("test_connection", "failed", 0),
        ):
            with self.subTest(task=task, state=state):
                series = f'rivergen_jobs{{state="{state}",task="{task}"}}'
                self.assertEqual(metrics[series], expected)

    def test_connection_tests_of_the_last_hour_are_counted_by_code(self):
        self.make_test(Code.OK)
        self.make_test(Code.OK, requested_at=timezone.now() - timedelta(minutes=61))
        self.make_test(Code.DNS_FAILED)
        self.make_test(Code.DNS_FAILED)
        self.make_test(None)
        metrics = self.scrape()
        for code, expected in (("OK", 1), ("DNS_FAILED", 2), ("LOGIN_FAILED", 0)):
            with self.subTest(code):
                self.assertEqual(metrics[f'rivergen_connection_tests{{code="{code}"}}'], expected)

    def test_metrics_show_lag_and_number_of_overdue_schema_refreshes(self):
        self.assertEqual(self.scrape()["rivergen_schema_refresh_lag_seconds"], 0)
        self.schedule("in time", -timedelta(hours=1))
        self.schedule("just due", timedelta(minutes=4))
        self.schedule("late", timedelta(minutes=10))
        for is_enqueued in (False, True):
            with self.subTest(is_enqueued=is_enqueued):
                metrics = self.scrape()
                self.assertEqual(metrics["rivergen_schema_refreshes_overdue"], 1)
                lag = metrics["rivergen_schema_refresh_lag_seconds"]
                self.assertAlmostEqual(lag, 600, delta=60)
                self.assertEqual(enqueue_due(), 0 if is_enqueued else 2)
        [asked_for] = SchemaRefresh.objects.start([self.data_source])
        hour_ago = timezone.now() - timedelta(hours=1)
        SchemaRefresh.objects.filter(pk=asked_for.pk).update(requested_at=hour_ago)
        metrics = self.scrape()
        self.assertEqual(metrics["rivergen_schema_refreshes_overdue"], 2)
        self.assertAlmostEqual(metrics["rivergen_schema_refresh_lag_seconds"], 3600, delta=60)
        for refresh in SchemaRefresh.objects.all():
            refresh.advance(0, 5)
        metrics = self.scrape()
        self.assertEqual(metrics["rivergen_schema_refreshes_overdue"], 0)
        self.assertEqual(metrics["rivergen_schema_refresh_lag_seconds"], 0)

    def test_live_workers_are_counted(self):
        for lanes, age, expected in (
            (0, timedelta(), 0),
            (3, timedelta(minutes=1), 0),
            (3, timedelta(), 1),
            (3, timedelta(seconds=10), 2),
            (1, timedelta(), 3),  # a worker that is starting has fewer lanes
        ):
            with self.subTest(expected=expected):
                self.make_lanes(lanes, age)
                self.assertEqual(self.scrape()["rivergen_workers"], expected)

    def test_documentation_lists_exactly_the_metrics(self):
        self.client.get("/healthz")  # a request that the metrics count
        text = self.client.get("/metrics").content.decode()
        exposed = {*re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)}
        page = (settings.BASE_DIR / "docs" / "operating.md").read_text()
        section = page.partition("\n## Metrics\n")[2]
        names = re.findall(r"\brivergen_[a-z_]+", section)
        self.assertEqual({name.removesuffix("_bucket") for name in names}, exposed)

    def test_scrape_takes_nine_statements(self):
        self.make_test(Code.OK)
        with self.statements() as captured:
            self.scrape()
        selects = [q for q in captured.captured_queries if q["sql"].startswith("SELECT")]
        self.assertEqual(len(selects), 9)

    @override_settings(QUOTA_DATA_SOURCES=8, QUOTA_HISTORY_BYTES=10_000)
    def test_usage_is_summed_and_the_fullest_organization_is_measured_by_its_own_quota(self):
        for number in range(3):
            DataSource.objects.create(workspace=self.workspace, name=f"D{number}", type="csv")
        DataSource.objects.create(workspace=self.globex.workspaces.get(), name="G", type="csv")
        headers = {"Idempotency-Key": "k"}
        answer = self.call("patch", self.path, {"port": 1}, self.editor, headers=headers)
        metrics = self.scrape()
        history = sum(DataSource.objects.values_list("history_bytes", flat=True))
        kept = RECORD_BYTES + len(answer.content)
        self.assertEqual(metrics["rivergen_data_sources"], 5)
        self.assertEqual(metrics["rivergen_history_bytes"], history)
        self.assertEqual(metrics["rivergen_kept_answer_bytes"], kept)
        ratio = 'rivergen_quota_used_ratio{quota="%s"}'
        of_globex = DataSource.objects.get(name="G").history_bytes
        self.assertEqual(metrics[ratio % "data_sources"], 4 / 8)
        self.assertEqual(metrics[ratio % "history_bytes"], (history - of_globex) / 10_000)
        self.assertEqual(metrics[ratio % "kept_answer_bytes"], kept / 1024**3)
        self.assertEqual(metrics["rivergen_schema_bytes"], 0)
        Organization.objects.filter(pk=self.globex.pk).update(quota_data_sources=1)
        self.assertEqual(self.scrape()[ratio % "data_sources"], 1)
