"""Limit attempts to connect while the database server is unreachable."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import OperationalError

PATIENCE_SECONDS = 0.5
# Start another attempt after this time: the server may be back while the first still waits.
INTERVAL_SECONDS = 1.0


class CircuitBreaker:
    """Allow one thread to retry, instead of all, once an attempt to connect has failed.

    A server that does not answer takes seconds to time out, and every request would block a thread
    that long. So one thread tries, and each second one more; the others fail fast. All threads may
    connect again as soon as one attempt has succeeded.
    """

    def __init__(self) -> None:
        self._is_open = False  # whether the last attempt failed
        self._in_flight = 0
        self._last_started_at = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Run one attempt to connect. Raises OperationalError (503) if others are in flight."""
        with self._changed:
            if not self._changed.wait_for(self._may_start, PATIENCE_SECONDS):
                raise OperationalError("The database is unreachable; other threads are retrying.")
            self._in_flight += 1
            self._last_started_at = time.monotonic()
        try:
            yield
            self._is_open = False
        except OperationalError:
            self._is_open = True
            raise
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _may_start(self) -> bool:
        is_due = time.monotonic() >= self._last_started_at + INTERVAL_SECONDS
        return not self._is_open or not self._in_flight or is_due
