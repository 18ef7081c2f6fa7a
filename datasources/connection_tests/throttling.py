"""How often an organization may have connections tested, and how many at once."""

from django.conf import settings
from rest_framework.exceptions import Throttled

from datasources.connection_tests.models import ConnectionTest
from organizations.sign_in.models import RequestCount
from organizations.sign_in.throttling import count_request
from rivergen.http.throttling import WindowThrottle

# Of the 64 places that a worker has by default.
RUNNING_MAX = 50
# Of those that others cannot fill.
EXPRESS_MAX = 4
RETRY_AFTER_SECONDS = 1


class ConnectionTestThrottle(WindowThrottle):
    """`RATE_LIMIT_TEST` for each organization, over all processes: a test knocks at other doors."""

    limit, seconds = settings.RATE_LIMIT_TEST

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("test", caller, window)


def count_test(organization_id: int) -> None:
    """Count a test that an organization asks for. Raises Throttled (429) if it is one too many."""
    count_request(ConnectionTestThrottle(), str(organization_id))


def count_running(organization_id: int) -> int:
    """Give how many tests of an organization wait or run; at once, some more may come to be.

    Raises Throttled (429) if it may not have one more.
    """
    number = ConnectionTest.objects.running().filter(organization_id=organization_id).count()
    if number >= RUNNING_MAX:
        sentence = f"{number} tests of this organization wait or run. Wait until one has ended."
        raise Throttled(RETRY_AFTER_SECONDS, sentence)
    return number
