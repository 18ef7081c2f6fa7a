"""Rate limits of sign-in: token requests per address, and attempts per username."""

from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from organizations.sign_in.models import RequestCount
from rivergen.http.throttling import WindowThrottle


class SignInThrottle(WindowThrottle):
    """Limit token requests per address to `RATE_LIMIT_TOKEN`, counted over all processes."""

    limit, seconds = settings.RATE_LIMIT_TOKEN

    def caller(self, request: Request) -> str:
        return self.address_of(request)

    def address_of(self, request: Any) -> str:
        """Return the client address of a request, of the API or of an admin page."""
        address: str = self.get_ident(request)
        return address[:64]

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("token", caller, window)


class UsernameThrottle(WindowThrottle):
    """Limit sign-in attempts per username to `RATE_LIMIT_TOKEN`, over all addresses."""

    limit, seconds = settings.RATE_LIMIT_TOKEN

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("username", caller, window)


def count_request(throttle: WindowThrottle, caller: str) -> None:
    """Count a request against a throttle outside of DRF's views. Raises Throttled (429)."""
    if not throttle.allow(caller):
        raise Throttled(throttle.wait())
