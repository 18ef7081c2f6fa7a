"""Rate limits in fixed windows; a request above the limit gets 429 with `Retry-After`.

`RateLimit-Policy` and `RateLimit` show the limits that counted a request
(draft-ietf-httpapi-ratelimit-headers).
"""

import math
import time
from collections import Counter
from contextvars import ContextVar
from http import HTTPStatus
from threading import Lock
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

# The throttles that have counted the current request, by name.
counted: ContextVar[dict[str, "WindowThrottle"] | None] = ContextVar("counted", default=None)


class WindowThrottle(BaseThrottle):
    """Limit the requests of each caller per time window.

    DRF's own throttles keep a list of times for each caller: at 6,000 a minute, copying the list
    would cost more than the rest of the request.
    """

    name: str
    limit: int
    seconds: int
    is_shown = True
    """Whether a caller may know how much is left: not of a count that strangers add to."""

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = self.caller(request)
        return caller is None or self.allow(caller)

    def allow(self, caller: str) -> bool:
        """Count a request of the caller; return whether the caller is within the limit."""
        self.note(self.count(caller, self.begin()))
        return self.remaining >= 0

    def begin(self) -> int:
        """Return the Unix time at which the window of this moment began, for `count`."""
        now = time.time()
        elapsed = now % self.seconds
        self.ends_at = now - elapsed + self.seconds
        return round(now - elapsed)

    def note(self, number: int) -> None:
        """Note the number of requests in this window, to be shown; see `show_limits`."""
        self.remaining = self.limit - number
        throttles = counted.get()
        if throttles is not None and (self.is_shown or self.remaining < 0):
            throttles[self.name] = self

    def wait(self) -> float:
        return max(self.ends_at - time.time(), 0)

    def caller(self, request: Request) -> str | None:
        """Return the key that a request is counted under; None to leave the request uncounted."""
        raise NotImplementedError

    def count(self, caller: str, window: int) -> int:
        """Count a request of the caller; return the number in this window.

        `window` is the Unix time at which the window began.
        """
        raise NotImplementedError


def show_limits(response: HttpResponse) -> None:
    """Set `RateLimit-Policy` and `RateLimit` to the limits that counted the current request.

    A 429 for another reason, as too much in flight, has a limit `wait` that ends at `Retry-After`.
    """
    throttles = (counted.get() or {}).values()
    limits = [
        f'"{one.name}";r={max(one.remaining, 0)};t={math.ceil(one.wait())}' for one in throttles
    ]
    seconds = response.get("Retry-After")
    is_refused = response.status_code == HTTPStatus.TOO_MANY_REQUESTS and seconds is not None
    if is_refused and all(one.remaining >= 0 for one in throttles):
        limits.append(f'"wait";r=0;t={seconds}')
    if throttles:
        policies = [f'"{one.name}";q={one.limit};w={one.seconds}' for one in throttles]
        response["RateLimit-Policy"] = ", ".join(policies)
    if limits:
        response["RateLimit"] = ", ".join(limits)


class UserThrottle(WindowThrottle):
    """Apply `RATE_LIMIT_USER` in memory, in each web process separately: it costs no query."""

    name = "user"
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
