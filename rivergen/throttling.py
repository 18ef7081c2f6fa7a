"""How often a caller may call: fixed windows, refused with 429 and `Retry-After`."""

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
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
        """Count one more request of the caller, in this process; return the number so far.

        `window` is the Unix time at which it began.
        """
        key = f"{type(self).__name__}:{caller}:{window}"
        cache.add(key, 0, timeout=2 * self.seconds)
        return cache.incr(key)


class UserThrottle(WindowThrottle):
    """`RATE_LIMIT_USER`, in each web process by itself: a guard, at no cost to the request."""

    limit, seconds = settings.RATE_LIMIT_USER

    def caller(self, request: Request) -> str | None:
        return str(request.user.pk) if request.user and request.user.is_authenticated else None
