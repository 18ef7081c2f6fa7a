"""Whether the server can be reached, as the threads of a process find out for each other."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import OperationalError

PATIENCE_SECONDS = 0.5
# A server may be back while an attempt still waits for the one that it was.
INTERVAL_SECONDS = 1.0


class Reach:
    """Lets few threads try to connect, once that has failed.

    A machine that keeps silent takes seconds to be given up, and each request would wait as long,
    with a thread of its own. So one thread tries, and every second one more; the others hardly
    wait. All may connect as soon as one has got through.
    """

    def __init__(self) -> None:
        self._is_lost = False
        self._attempts = 0  # that are under way
        self._began_at = 0.0  # the latest of them
        self._changed = threading.Condition()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Connect in the block. Raises OperationalError (503) if enough others are at it."""
        with self._changed:
            if not self._changed.wait_for(self._may_try, PATIENCE_SECONDS):
                raise OperationalError("The server has not been heard of yet.")
            self._attempts += 1
            self._began_at = time.monotonic()
        try:
            yield
            self._is_lost = False
        except OperationalError:
            self._is_lost = True
            raise
        finally:
            with self._changed:
                self._attempts -= 1
                self._changed.notify_all()

    def _may_try(self) -> bool:
        is_due = time.monotonic() >= self._began_at + INTERVAL_SECONDS
        return not self._is_lost or not self._attempts or is_due
