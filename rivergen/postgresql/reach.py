"""Whether the server can be reached, as the threads of a process find out for each other."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import OperationalError

PATIENCE_SECONDS = 0.5


class Reach:
    """Lets one thread after the other try to connect, once that has failed.

    A machine that keeps silent takes seconds to be given up, and each request would wait as long,
    with a thread of its own. So one tries, and the others hardly wait for what comes of it.
    """

    def __init__(self) -> None:
        self._is_lost = False
        self._turn = threading.Lock()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Connect in the block. Raises OperationalError (503) if another thread is still at it."""
        takes_turns = self._is_lost
        if takes_turns and not self._turn.acquire(timeout=PATIENCE_SECONDS):
            raise OperationalError("The server has not been heard of yet.")
        try:
            yield
            self._is_lost = False
        except OperationalError:
            self._is_lost = True
            raise
        finally:
            if takes_turns:
                self._turn.release()


# By alias.
reach: defaultdict[str, Reach] = defaultdict(Reach)
