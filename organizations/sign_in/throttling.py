"""How often an address may ask for tokens, and a user for signing in."""

from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from organizations.sign_in.models import RequestCount
from rivergen.http.throttling import WindowThrottle


class SignInThrottle(WindowThrottle):
    """`RATE_LIMIT_TOKEN` for each address, over all processes: passwords are guessed here."""

    limit, seconds = settings.RATE_LIMIT_TOKEN

    def caller(self, request: Request) -> str:
        return self.address_of(request)

    def address_of(self, request: Any) -> str:
        """Give the address that a request comes from, of the API or of a page."""
        address: str = self.get_ident(request)
        return address[:64]

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("token", caller, window)


class UsernameThrottle(WindowThrottle):
    """`RATE_LIMIT_TOKEN` for each username, from all addresses together, right or wrong."""

    limit, seconds = settings.RATE_LIMIT_TOKEN

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("username", caller, window)


def count(throttle: WindowThrottle, caller: str) -> None:
    """Count a request that a throttle is not asked about by DRF. Raises Throttled (429)."""
    if not throttle.allow(caller):
        raise Throttled(throttle.wait())
