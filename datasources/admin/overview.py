"""Figures and charts of all data sources, for the overview page."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.db.models.fields.json import KT
from django.db.models.functions import TruncHour
from django.utils import timezone

from datasources.admin.charts import Bar, columns, stacked_bars
from datasources.connection_tests.models import ConnectionTest
from datasources.connections.failures import Code, message_of
from datasources.models import DataSource

HOURS = 24
LISTED_MAX = 10


def overview() -> dict[str, Any]:
    """Return the context of the page: data sources, tests of the last day, overdue refreshes."""
    since = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    overdue = DataSource.objects.overdue_for_refresh()
    failed = failed_tests(since).select_related("data_source__organization")
    by_type = sources_by_type()
    by_status = Counter[str]()
    for bar in by_type:
        by_status.update(dict(bar.parts))
    return {
        "total": by_status.total(),
        "by_status": [(status, by_status[status]) for status in DataSource.Status],
        "sources_chart": stacked_bars(by_type),
        "tests_chart": columns(tests_by_hour(since)),
        "failures": failures_by_code(since),
        "failed_tests": failed.exclude(data_source=None).order_by("-requested_at")[:LISTED_MAX],
        "overdue_count": overdue.count(),
        "overdue": overdue.select_related("organization")[:LISTED_MAX],
    }


def sources_by_type() -> list[Bar]:
    """Return one bar per type in use, divided by status, the longest first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    rows = DataSource.objects.order_by().values_list("type", "status").annotate(Count("pk"))
    for type_name, status, count in rows:
        counts[type_name][status] = count
    bars = [
        Bar(type_name, [(str(status), of_type[status]) for status in DataSource.Status])
        for type_name, of_type in counts.items()
    ]
    return sorted(bars, key=lambda bar: (-bar.total, bar.label))


def tests_by_hour(since: datetime) -> list[Bar]:
    """Return one bar per hour, divided into tests that failed and that connected."""
    counts: dict[datetime, Counter[str]] = defaultdict(Counter)
    rows = finished_tests(since).annotate(hour=TruncHour("requested_at"))
    for hour, code, count in rows.values_list("hour", "code").annotate(Count("pk")):
        counts[hour]["connected" if code == Code.OK else "failed"] += count
    hours = [since + timedelta(hours=number) for number in range(HOURS)]
    return [
        Bar(f"{hour:%H}", [(name, counts[hour][name]) for name in ("failed", "connected")])
        for hour in hours
    ]


def failures_by_code(since: datetime) -> list[tuple[str, str, int]]:
    """Return the codes of failed tests, each with its meaning and count, most frequent first."""
    rows = failed_tests(since).values_list("code").annotate(count=Count("pk")).order_by("-count")
    return [(code, message_of(code, {}), count) for code, count in rows]


def failed_tests(since: datetime) -> Any:
    """Return the tests requested since `since` that failed."""
    return finished_tests(since).exclude(code=Code.OK)


def finished_tests(since: datetime) -> Any:
    """Return the tests requested since `since` that have finished, annotated with their `code`."""
    tests = ConnectionTest.objects.filter(requested_at__gte=since, finished_at__isnull=False)
    return tests.annotate(code=KT("outcome__code")).order_by()
