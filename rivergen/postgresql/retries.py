"""Doing again what the database gave up in favor of somebody else."""

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection
from psycopg.errors import DeadlockDetected, SerializationFailure

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 3
PAUSE_SECONDS = (0.01, 0.1)


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function that stores something again if its transaction lost against another one.

    Of two that wait for each other PostgreSQL ends one (SQLSTATE 40P01), and where it is configured
    to isolate them more strictly, one that has seen what the other changed (40001). Nothing of it
    is stored. Whoever began the transaction must begin anew: within one, this does nothing.

    Raises what the last attempt raises: OperationalError (503).
    """

    @functools.wraps(function)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                has_lost = isinstance(error.__cause__, DeadlockDetected | SerializationFailure)
                if not has_lost or connection.in_atomic_block:
                    raise
            # At once, it would be back before the one that won has woken up, and meet it again.
            time.sleep(random.uniform(*PAUSE_SECONDS))
        return function(*args, **kwargs)

    return attempt
