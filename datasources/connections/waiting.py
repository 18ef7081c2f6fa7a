"""Waiting for a test, in a request, without starving the others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework.exceptions import NotFound

from datasources.connections.models import ConnectionTest

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


def wait_for(test: ConnectionTest, seconds: float) -> None:
    """Return when the test has an outcome, or after so many seconds; not for a transaction.

    Raises NotFound (404) if the test is deleted, with its data source or organization.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while test.finished_at is None and time.monotonic() < deadline:
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
        pause = min(2 * pause, PAUSE_MAX_SECONDS)
        try:
            test.refresh_from_db(fields=["finished_at", "outcome"])
        except ConnectionTest.DoesNotExist:
            raise NotFound("What is tested has been deleted meanwhile.") from None
