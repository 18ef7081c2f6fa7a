"""Rate limits of sign-in: token requests per address and network, and attempts per username."""

from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from organizations.sign_in.models import RequestCount
from rivergen.http.addresses import client_network, site_network
from rivergen.http.throttling import WindowThrottle

# A /48 of IPv6 may belong to one customer or to an office of many.
CLIENTS_PER_SITE = 10


class SignInThrottle(WindowThrottle):
    """Limit token requests per address to `RATE_LIMIT_TOKEN`, counted over all processes.

    Addresses of one IPv6 /64 count as one address.
    """

    name = "token"
    limit, seconds = settings.RATE_LIMIT_TOKEN

    def caller(self, request: Request) -> str | None:
        return client_network(request)

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("token", caller, window)


class SiteThrottle(SignInThrottle):
    """Limit token requests per IPv6 /48 to ten times `RATE_LIMIT_TOKEN`."""

    name = "token-network"
    limit = CLIENTS_PER_SITE * SignInThrottle.limit

    def caller(self, request: Request) -> str | None:
        return site_network(client_network(request))


class UsernameThrottle(WindowThrottle):
    """Limit sign-in attempts per username to `RATE_LIMIT_TOKEN`, over all addresses."""

    name = "token-username"
    limit, seconds = settings.RATE_LIMIT_TOKEN
    is_shown = False

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("username", caller, window)


def count_request(throttle: WindowThrottle, caller: str | None) -> None:
    """Count a request against a throttle outside of DRF's views. Raises Throttled (429)."""
    if caller is not None and not throttle.allow(caller):
        raise Throttled(throttle.wait())


def count_sign_in(request: Any) -> None:
    """Count a sign-in to the admin like one over the API. Raises Throttled (429)."""
    for throttle in (SignInThrottle(), SiteThrottle()):
        count_request(throttle, throttle.caller(request))
