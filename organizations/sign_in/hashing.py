"""How passwords are hashed, and how many at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.contrib.auth.hashers import Argon2PasswordHasher
from rest_framework.exceptions import Throttled

# In each web process. A hash takes a core and 19 MiB for some 20 milliseconds.
HASHES_AT_A_TIME = 4
BUSY_WAIT_SECONDS = 1
BUSY = "Too many sign-ins at the same time."

places = BoundedSemaphore(HASHES_AT_A_TIME)


class Argon2idPasswordHasher(Argon2PasswordHasher):
    """Hash by Argon2id with the parameters of OWASP's Password Storage Cheat Sheet.

    Django's own need 100 MiB and 8 threads for each hash, which few sign-ins would exhaust.
    """

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1


@contextmanager
def hashing() -> Iterator[None]:
    """Reserve one of this process's places to hash passwords for the time of the block.

    Raises Throttled (429) at once if all places are taken: attempts that wait would take the
    threads of other requests.
    """
    if not places.acquire(blocking=False):
        raise Throttled(BUSY_WAIT_SECONDS, BUSY)
    try:
        yield
    finally:
        places.release()
