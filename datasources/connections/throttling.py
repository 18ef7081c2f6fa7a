"""How often an organization may have connections tested."""

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from organizations.models import RequestCount
from rivergen.throttling import WindowThrottle


class ConnectionTestThrottle(WindowThrottle):
    """`RATE_LIMIT_TEST` for each organization, over all processes: a test knocks at other doors."""

    limit, seconds = settings.RATE_LIMIT_TEST

    def __init__(self, organization_id: int) -> None:
        self.organization_id = organization_id

    def caller(self, request: Request) -> str:
        return str(self.organization_id)

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("test", caller, window)


def count_test(request: Request, organization_id: int) -> None:
    """Count a test that an organization asks for. Raises Throttled (429) if it is one too many."""
    throttle = ConnectionTestThrottle(organization_id)
    if not throttle.allow_request(request, None):
        raise Throttled(wait=throttle.wait())
