"""How often a caller may call: fixed windows, refused with 429 and `Retry-After`."""

import time
from collections import Counter
from threading import Lock
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle


class WindowThrottle(BaseThrottle):
    """Count the requests of a caller in the running window.

    DRF's own throttles keep a list of times for each caller: at 6,000 a minute, copying it would
    cost more than the rest of the request.
    """

    limit: int
    seconds: int

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = self.caller(request)
        return caller is None or self.allow(caller)

    def allow(self, caller: str) -> bool:
        """Count one more request of the caller; say whether it is within the limit."""
        now = time.time()
        elapsed = now % self.seconds
        self.seconds_left = self.seconds - elapsed
        return self.count(caller, round(now - elapsed)) <= self.limit

    def wait(self) -> float:
        return self.seconds_left

    def caller(self, request: Request) -> str | None:
        """Name who is counted; None is not counted."""
        raise NotImplementedError

    def count(self, caller: str, window: int) -> int:
        """Count one more request of the caller; return the number so far.

        `window` is the Unix time at which it began.
        """
        raise NotImplementedError


class UserThrottle(WindowThrottle):
    """`RATE_LIMIT_USER`, in each web process by itself: a guard, at no cost to the request."""

    limit, seconds = settings.RATE_LIMIT_USER
    # Of the running window: all callers and their requests.
    counts: ClassVar[dict[int, Counter[str]]] = {}
    lock = Lock()

    def caller(self, request: Request) -> str | None:
        return str(request.user.pk) if request.user and request.user.is_authenticated else None

    def count(self, caller: str, window: int) -> int:
        with self.lock:
            if window not in self.counts:
                self.counts.clear()
            counted = self.counts.setdefault(window, Counter())
            counted[caller] += 1
            return counted[caller]
