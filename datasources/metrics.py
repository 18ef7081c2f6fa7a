"""Prometheus metrics of jobs, tests, schemas and quotas, read from the database."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Min, Q, QuerySet, Sum
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
from datasources.schemas.snapshots.models import SchemaContent
from organizations.idempotency.models import KeptAnswers
from organizations.models import Organization

# Our name of each job state of procrastinate. Jobs that have succeeded are deleted.
STATES = {"todo": "waiting", "doing": "running", "failed": "failed"}
TESTS_SINCE = timedelta(hours=1)


def collect() -> Iterator[Metric]:
    """Yield the current metrics, read in nine statements. Raises DatabaseError."""
    yield jobs()
    yield connection_tests()
    yield from schema_refreshes()
    yield from quotas()
    help_text = "Worker processes that have sent a heartbeat in the last 20 seconds."
    yield GaugeMetricFamily("rivergen_workers", help_text, count_workers())


def jobs() -> Metric:
    """Return the number of jobs by task and state, 0 for a task without jobs."""
    help_text = "Jobs that are waiting, are running, or have failed for good in the last 7 days."
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
    """Return the number of finished connection tests of the last hour, by code."""
    help_text = "Connection tests that were requested in the last hour and have finished."
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
    """Yield the metrics of late schema refreshes: not enqueued yet, or waiting for a worker."""
    now = timezone.now()
    delays = [
        delay_of(DataSource.objects.due_for_refresh(), "schema_next_refresh_at", now),
        delay_of(SchemaRefresh.objects.waiting(), "requested_at", now),
    ]
    help_text = "Longest time that a schema refresh which is due has been waiting."
    lag = max(delay.longest for delay in delays).total_seconds()
    yield GaugeMetricFamily("rivergen_schema_refresh_lag_seconds", help_text, lag)
    help_text = "Data sources whose schema refresh has been due for more than 5 minutes."
    count = sum(delay.overdue for delay in delays)
    yield GaugeMetricFamily("rivergen_schema_refreshes_overdue", help_text, count)


def quotas() -> Iterator[Metric]:
    """Yield what is stored of all that has a quota, and how much the fullest organization uses."""
    share = GaugeMetricFamily(
        "rivergen_quota_used_ratio",
        "The largest part of its quota that any organization uses.",
        labels=["quota"],
    )
    by_organization = DataSource.objects.order_by().values_list("organization")
    sources = [*by_organization.annotate(Count("pk"), Sum("history_bytes"))]
    answers = KeptAnswers.by_organization()
    default = Organization()
    others = {organization.pk: organization for organization in Organization.objects.with_quotas()}
    for name, help_text, used in (
        ("data_sources", "Data sources.", {pk: count for pk, count, _ in sources}),
        ("history_bytes", "Bytes of history.", {pk: size for pk, _, size in sources}),
        ("kept_answer_bytes", "Bytes of answers kept for an Idempotency-Key.", answers),
        ("schema_bytes", "Bytes of schemas.", SchemaContent.bytes_by_organization()),
    ):
        yield GaugeMetricFamily(f"rivergen_{name}", help_text, sum(used.values()))
        parts = (n / (others.get(pk, default).quota(name) or 1) for pk, n in used.items())
        share.add_metric([name], max(parts, default=0))
    yield share


class Delay(NamedTuple):
    """The longest wait of some rows, and how many have waited longer than `OVERDUE_AFTER`."""

    longest: timedelta
    overdue: int


def delay_of(rows: QuerySet[Any], since: str, now: datetime) -> Delay:
    """Return the delay of rows that have been waiting since the time in the column `since`."""
    is_overdue = Q((f"{since}__lte", now - OVERDUE_AFTER))
    found = rows.aggregate(since=Min(since), overdue=Count("pk", filter=is_overdue))
    longest = timedelta() if found["since"] is None else now - found["since"]
    return Delay(longest, found["overdue"])
