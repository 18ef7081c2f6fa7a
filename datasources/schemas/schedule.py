"""Schedule of automatic schema refreshes: interval, jitter and backoff."""

import random
from datetime import datetime, timedelta

from django.utils import timezone

from datasources.models import DataSource

# A random share of the interval is added, to spread data sources refreshed at the same time.
JITTER = 0.1
# After each failure the wait doubles. It starts with the interval, or an hour if that is less.
BACKOFF_BASE_MAX_SECONDS = 3_600
BACKOFF_MAX_SECONDS = 86_400 / (1 + JITTER)
DOUBLINGS_MAX = 11


def next_refresh_at(data_source: DataSource, failures: int, has_changed: bool) -> datetime | None:
    """Return when a data source is due for its next refresh, or None without auto-refresh.

    `failures` are the failures in a row. If what is read `has_changed` since, it is due at once:
    the snapshot or the failure may be out of date.
    """
    if not data_source.schema_auto_refresh:
        return None
    if has_changed:
        return timezone.now()
    seconds: float = data_source.schema_refresh_interval
    if failures:
        seconds = backoff(seconds, failures)
    return timezone.now() + timedelta(seconds=seconds * random.uniform(1, 1 + JITTER))


def backoff(interval: float, failures: int) -> float:
    """Return the seconds to wait after a number of failures in a row."""
    base = min(interval, BACKOFF_BASE_MAX_SECONDS)
    return min(base * 2 ** min(failures, DOUBLINGS_MAX), BACKOFF_MAX_SECONDS)
