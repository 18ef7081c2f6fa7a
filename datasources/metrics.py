"""What the database knows of jobs, connection tests and schemas, for Prometheus."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, Min
from django.db.models.fields.json import KT
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client.core import GaugeMetricFamily, Metric

from datasources.connections.failures import Code
from datasources.connections.models import ConnectionTest
from datasources.jobs import count_workers
from datasources.models import DataSource

# What procrastinate calls the states of a job; one that has succeeded is deleted.
STATES = {"todo": "waiting", "doing": "running", "failed": "failed"}
TESTS_SINCE = timedelta(hours=1)


def collect() -> Iterator[Metric]:
    """Read what there is now, in five statements. Raises DatabaseError."""
    yield jobs()
    yield connection_tests()
    yield from schema_refreshes()
    help_text = "Worker processes that have shown in the last 20 seconds that they are alive."
    yield GaugeMetricFamily("rivergen_workers", help_text, count_workers())


def jobs() -> Metric:
    """Count jobs by task and state; those of each task are 0 rather than missing."""
    help_text = "Jobs that wait, run, or have failed for good in the last 7 days."
    metric = GaugeMetricFamily("rivergen_jobs", help_text, labels=["task", "state"])
    rows = ProcrastinateJob.objects.filter(status__in=STATES).values_list("task_name", "status")
    counts = Counter({(task, status): n for task, status, n in rows.annotate(Count("pk"))})
    own = {task.name for task in app.tasks.values() if not task.name.startswith("builtin:")}
    tasks = own | {task for task, _ in counts}
    for task in sorted(tasks):
        for status, state in STATES.items():
            metric.add_metric([task, state], counts[task, status])
    return metric


def connection_tests() -> Metric:
    """Count the connection tests that were asked for lately and have ended, by code."""
    help_text = "Connection tests that were asked for in the last hour and have ended."
    metric = GaugeMetricFamily("rivergen_connection_tests", help_text, labels=["code"])
    tests = ConnectionTest.objects.filter(
        requested_at__gte=timezone.now() - TESTS_SINCE, finished_at__isnull=False
    )
    rows = tests.order_by().annotate(code=KT("outcome__code")).values_list("code")
    counts = Counter(dict(rows.annotate(Count("pk"))))
    for code in Code:
        metric.add_metric([code], counts[code])
    return metric


def schema_refreshes() -> Iterator[Metric]:
    """Say how late the schedule is that reads schemas; it looks every 10 seconds."""
    data_sources = DataSource.objects
    due_since = data_sources.due_for_refresh().aggregate(at=Min("schema_next_refresh_at"))["at"]
    lag = timedelta() if due_since is None else timezone.now() - due_since
    help_text = "How long the refresh of a schema that is due for longest has been due."
    yield GaugeMetricFamily("rivergen_schema_refresh_lag_seconds", help_text, lag.total_seconds())
    help_text = "Data sources whose schema should have been read more than 5 minutes ago."
    count = data_sources.overdue_for_refresh().count()
    yield GaugeMetricFamily("rivergen_schema_refreshes_overdue", help_text, count)
