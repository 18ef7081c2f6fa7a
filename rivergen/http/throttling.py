"""Rate limits in fixed windows; a request above the limit gets 429 with `Retry-After`."""

import time
from collections import Counter
from threading import Lock
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle


class WindowThrottle(BaseThrottle):
    """Limit the requests of each caller per time window.

    DRF's own throttles keep a list of times for each caller: at 6,000 a minute, copying the list
    would cost more than the rest of the request.
    """

    limit: int
    seconds: int

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = self.caller(request)
        return caller is None or self.allow(caller)

    def allow(self, caller: str) -> bool:
        """Count a request of the caller; return whether the caller is within the limit."""
        return self.count(caller, self.begin()) <= self.limit

    def begin(self) -> int:
        """Return the Unix time at which the window of this moment began, for `count`."""
        now = time.time()
        elapsed = now % self.seconds
        self.seconds_left = self.seconds - elapsed
        return round(now - elapsed)

    def wait(self) -> float:
        return self.seconds_left

    def caller(self, request: Request) -> str | None:
        """Return the key that a request is counted under; None to leave the request uncounted."""
        raise NotImplementedError

    def count(self, caller: str, window: int) -> int:
        """Count a request of the caller; return the number in this window.

        `window` is the Unix time at which the window began.
        """
        raise NotImplementedError


class UserThrottle(WindowThrottle):
    """Apply `RATE_LIMIT_USER` in memory, in each web process separately: it costs no query."""

    limit, seconds = settings.RATE_LIMIT_USER
    # The number of requests by caller, for the current window only.
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
