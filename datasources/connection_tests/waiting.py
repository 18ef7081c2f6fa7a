"""Waiting for a worker within a request, in a limited number of threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from django.core.exceptions import ObjectDoesNotExist
from rest_framework.exceptions import NotFound

WAIT_MAX_SECONDS = 30
# Up to half of the threads of a web process may wait; the others keep serving requests.
WAITING_MAX = 4
# Poll for results: NOTIFY does not arrive through a pooler in transaction mode.
FIRST_PAUSE_SECONDS = 0.03
PAUSE_MAX_SECONDS = 0.5

_places = threading.BoundedSemaphore(WAITING_MAX)


@contextmanager
def waiting_place() -> Iterator[bool]:
    """Take one of the waiting places of this process, and yield whether one was free."""
    has_place = _places.acquire(blocking=False)
    try:
        yield has_place
    finally:
        if has_place:
            _places.release()


class Job(Protocol):
    """A row whose `finished_at` a worker sets."""

    finished_at: datetime | None

    def refresh_from_db(self) -> None: ...


def wait_for(job: Job, seconds: float) -> None:
    """Return when a worker has finished the job, or after `seconds`. Not for use in a transaction.

    Raises NotFound (404) if the job was deleted together with its data source or organization.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while job.finished_at is None and time.monotonic() < deadline:
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
        pause = min(2 * pause, PAUSE_MAX_SECONDS)
        try:
            job.refresh_from_db()
        except ObjectDoesNotExist:
            raise NotFound("The data source was deleted during this request.") from None
