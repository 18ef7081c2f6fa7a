"""Rate limit of connection tests by organization, and limit of tests in flight."""

from typing import NamedTuple

from django.conf import settings
from rest_framework.exceptions import Throttled

from datasources.connection_tests.models import ConnectionTest
from organizations.sign_in.models import RequestCount
from organizations.sign_in.throttling import count_request
from rivergen.http.throttling import WindowThrottle

# A worker has 64 slots by default.
RUNNING_MAX = 50
# Tests of one organization that may use the express queue.
EXPRESS_MAX = 4
RETRY_AFTER_SECONDS = 1


class ConnectionTestThrottle(WindowThrottle):
    """Limit each organization to `RATE_LIMIT_TEST`, counted over all processes.

    Tests are limited because each one connects to another server.
    """

    name = "test"
    limit, seconds = settings.RATE_LIMIT_TEST

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("test", caller, window)


def count_test(organization_id: int) -> None:
    """Count a test of an organization. Raises Throttled (429) above the limit."""
    count_request(ConnectionTestThrottle(), str(organization_id))


def count_running(organization_id: int) -> int:
    """Return the number of unfinished tests of an organization.

    Raises Throttled (429) from `RUNNING_MAX` on. Concurrent requests may exceed it by a few.
    """
    number = ConnectionTest.objects.running().filter(organization_id=organization_id).count()
    if number >= RUNNING_MAX:
        raise too_many_running(number)
    return number


def too_many_running(number: int) -> Throttled:
    """Return the error (429) for an organization with this number of unfinished tests."""
    sentence = (
        f"{number} tests of this organization are queued or running. Try again when one has "
        "finished."
    )
    return Throttled(RETRY_AFTER_SECONDS, sentence)


class Allowance(NamedTuple):
    """How many tests an organization may start, after those that run; `refusal` is for the rest."""

    started: int
    running: int
    refusal: Throttled


def count_tests(organization_id: int, wanted: int) -> Allowance:
    """Count the connection tests that may start now, up to `wanted`.

    The result is that of `count_test` and `count_running` for one test after another. Like there,
    refused tests are not counted.
    """
    throttle, caller = ConnectionTestThrottle(), str(organization_id)
    window = throttle.begin()
    left = throttle.limit - RequestCount.add("test", caller, window, 0)
    running = ConnectionTest.objects.running().filter(organization_id=organization_id).count()
    started = max(0, min(wanted, left, RUNNING_MAX - running))
    throttle.note(RequestCount.add("test", caller, window, started))
    is_rate = started >= left
    refusal = Throttled(throttle.wait()) if is_rate else too_many_running(running + started)
    return Allowance(started, running, refusal)
