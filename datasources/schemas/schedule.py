"""When the schema of a data source is read next."""

import random
from datetime import datetime, timedelta

from django.utils import timezone

from datasources.models import DataSource

# Of the interval: what started together does not stay together.
JITTER = 0.1
# After failures: twice as long each time, from the interval or this on, a day at most with jitter.
BACKOFF_BASE_MAX_SECONDS = 3_600
BACKOFF_MAX_SECONDS = 86_400 / (1 + JITTER)
DOUBLINGS_MAX = 11


def next_refresh_at(data_source: DataSource, failures: int, has_changed: bool) -> datetime | None:
    """Give the time of the next refresh, when one has ended; None: it is not asked for.

    `failures` counts them in a row. A data source that `has_changed` since it was read is due at
    once: what was read, or why it could not be, may be out of date.
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
    """Give the seconds to wait after so many failures in a row."""
    base = min(interval, BACKOFF_BASE_MAX_SECONDS)
    return min(base * 2 ** min(failures, DOUBLINGS_MAX), BACKOFF_MAX_SECONDS)
