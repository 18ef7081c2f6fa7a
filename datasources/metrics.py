"""What the database knows of jobs, connection tests and schemas, for Prometheus."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Min, Q, QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client.core import GaugeMetricFamily, Metric

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.failures import Code
from datasources.jobs import count_workers
from datasources.models import DataSource
from datasources.models.querysets import OVERDUE_AFTER
from datasources.schemas.models import SchemaRefresh

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
    """Say how late schemas are read, be it that the schedule or that the workers do not keep up."""
    now = timezone.now()
    waiting = [
        waits(DataSource.objects.due_for_refresh(), "schema_next_refresh_at", now),
        waits(SchemaRefresh.objects.waiting(), "requested_at", now),
    ]
    help_text = "How long the schema that waits to be read for longest has waited."
    lag = max(one.longest for one in waiting).total_seconds()
    yield GaugeMetricFamily("rivergen_schema_refresh_lag_seconds", help_text, lag)
    help_text = "Data sources whose schema has waited to be read for more than 5 minutes."
    count = sum(one.overdue for one in waiting)
    yield GaugeMetricFamily("rivergen_schema_refreshes_overdue", help_text, count)


class Waiting(NamedTuple):
    """How long the one that waits for longest has waited, and how many do so for too long."""

    longest: timedelta
    overdue: int


def waits(rows: QuerySet[Any], since: str, now: datetime) -> Waiting:
    """Read how long rows wait that have waited since the time in a column."""
    is_overdue = Q((f"{since}__lte", now - OVERDUE_AFTER))
    found = rows.aggregate(since=Min(since), overdue=Count("pk", filter=is_overdue))
    longest = timedelta() if found["since"] is None else now - found["since"]
    return Waiting(longest, found["overdue"])
