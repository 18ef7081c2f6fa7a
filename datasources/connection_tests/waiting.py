"""Waiting for a worker, in a request, without starving the others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from django.core.exceptions import ObjectDoesNotExist
from rest_framework.exceptions import NotFound

WAIT_MAX_SECONDS = 30
# Half of the threads of a web process: the other half goes on with all else.
WAITING_MAX = 4
# A pooler in transaction mode loses notifications, so the database is asked.
FIRST_PAUSE_SECONDS = 0.03
PAUSE_MAX_SECONDS = 0.5

_places = threading.BoundedSemaphore(WAITING_MAX)


@contextmanager
def waiting_place() -> Iterator[bool]:
    """Take one of the places of this process; give whether there was one."""
    has_place = _places.acquire(blocking=False)
    try:
        yield has_place
    finally:
        if has_place:
            _places.release()


class Job(Protocol):
    """A row that a worker finishes."""

    finished_at: datetime | None

    def refresh_from_db(self) -> None: ...


def wait_for(job: Job, seconds: float) -> None:
    """Return when a worker has finished it, or after so many seconds; not for a transaction.

    Raises NotFound (404) if it is deleted, with its data source or organization.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while job.finished_at is None and time.monotonic() < deadline:
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
        pause = min(2 * pause, PAUSE_MAX_SECONDS)
        try:
            job.refresh_from_db()
        except ObjectDoesNotExist:
            raise NotFound("The data source has been deleted meanwhile.") from None
