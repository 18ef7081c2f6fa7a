"""Rate limits (429): token requests per address, and any requests per user."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import time_machine
from django.db import connection
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from rest_framework.test import APIRequestFactory

from organizations.models import User
from organizations.sign_in.models import RequestCount
from organizations.sign_in.throttling import SignInThrottle, SiteThrottle
from organizations.testing import PASSWORD, APITestCase, APITestMixin
from rivergen.http.addresses import client_network
from rivergen.http.throttling import UserThrottle, WindowThrottle

LIMIT = 3
# The start of a window, so that no window ends during a test.
NOON = "2026-11-24T12:00:00Z"
SECONDS_LATER = "2026-11-24T12:00:45Z"
MINUTE_LATER = "2026-11-24T12:01:00Z"


@contextmanager
def limited(throttle: type[WindowThrottle]) -> Iterator[None]:
    """Set the limit of a throttle to `LIMIT` requests per minute."""
    with mock.patch.multiple(throttle, limit=LIMIT, seconds=60):
        yield


class SignInThrottleTests(APITestCase):
    def sign_in(self, password: str = PASSWORD, address: str = "192.0.2.1") -> Any:
        body = {"username": "edith", "password": password}
        return self.call("post", "/auth/token", body, REMOTE_ADDR=address)

    def test_requests_above_the_limit_are_refused_until_the_minute_ends(self):
        with limited(SignInThrottle), time_machine.travel(NOON, tick=False) as clock:
            statuses = [self.sign_in(password).status_code for password in ("a", "b", PASSWORD)]
            self.assertEqual(statuses, [401, 401, 200])
            response = self.sign_in()
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
            self.assertEqual(response["Retry-After"], "60")
            clock.move_to(SECONDS_LATER)
            self.assertEqual(self.sign_in()["Retry-After"], "15")
            clock.move_to(MINUTE_LATER)
            self.assertEqual(self.sign_in().status_code, 200)

    def test_sign_in_limit_is_per_address_and_shared_by_both_token_endpoints(self):
        with limited(SignInThrottle), time_machine.travel(NOON, tick=False):
            for _ in range(LIMIT):
                self.call("post", "/auth/token/refresh", {"refresh_token": "x"})
            refused = self.call("post", "/auth/token", {"username": "a", "password": "b"})
            self.assert_error(refused, 429, "TOO_MANY_REQUESTS")
            self.assertEqual(self.sign_in(address="192.0.2.2").status_code, 200)

    def test_addresses_of_one_ipv6_64_share_the_limit(self):
        with limited(SignInThrottle), time_machine.travel(NOON, tick=False):
            for number in range(LIMIT):
                self.sign_in("a", address=f"2001:db8::{number + 1:x}")
            self.assertEqual(self.sign_in(address="2001:db8::ffff").status_code, 429)
            self.assertEqual(self.sign_in(address="2001:db8:0:1::1").status_code, 200)

    def test_networks_of_one_ipv6_48_share_a_limit(self):
        with limited(SiteThrottle), time_machine.travel(NOON, tick=False):
            for number in range(LIMIT):
                self.sign_in("a", address=f"2001:db8:0:{number + 1:x}::1")
            self.assertEqual(self.sign_in(address="2001:db8::1").status_code, 429)
            self.assertEqual(self.sign_in(address="2001:db8:1::1").status_code, 200)

    def test_requests_above_the_limit_are_refused_before_reading_the_body(self):
        with limited(SignInThrottle), time_machine.travel(NOON, tick=False):
            for _ in range(LIMIT):
                self.assert_error(self.call("post", "/auth/token", b"{"), 400, "BAD_REQUEST")
            self.assertEqual(self.call("post", "/auth/token", b"{").status_code, 429)

    def test_counts_of_expired_windows_are_deleted(self):
        with time_machine.travel(NOON, tick=False) as clock:
            self.sign_in()
            clock.move_to(MINUTE_LATER)
            self.sign_in()
        kinds = RequestCount.objects.values_list("kind", flat=True).order_by("kind")
        self.assertEqual([*kinds], ["token", "username"])


class AddressTests(SimpleTestCase):
    def address(self, proxies: int, forwarded: str) -> str:
        request = APIRequestFactory().post("/", REMOTE_ADDR="192.0.2.1")
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
        with mock.patch("rest_framework.throttling.api_settings.NUM_PROXIES", proxies):
            return client_network(request)

    def test_client_address_is_taken_behind_the_configured_number_of_proxies(self):
        self.assertEqual(self.address(0, "198.51.100.7"), "192.0.2.1")
        self.assertEqual(self.address(1, "forged, 198.51.100.7"), "198.51.100.7")
        self.assertEqual(self.address(2, "forged, 198.51.100.7, 10.0.0.1"), "198.51.100.7")

    def test_client_address_is_counted_without_port_and_zone_and_by_its_network(self):
        for forwarded, counted in {
            "198.51.100.7:50123": "198.51.100.7",
            "[2001:db8::1]:50123": "2001:db8::/64",
            "[2001:db8::1]": "2001:db8::/64",
            "2001:DB8:0:0:7::1": "2001:db8::/64",
            "fe80::1%eth0": "fe80::/64",
            "::ffff:198.51.100.7": "198.51.100.7",
            "unknown": "unknown",
            "x" * 100: "x" * 64,
        }.items():
            with self.subTest(forwarded):
                self.assertEqual(self.address(1, forwarded), counted)


class ConcurrentTokenRequestsTests(APITestMixin, TransactionTestCase):
    def test_concurrent_token_requests_pass_exactly_up_to_the_limit(self):
        def refresh(_: int) -> int:
            try:
                return self.call("post", "/auth/token/refresh", {"refresh_token": "x"}).status_code
            finally:
                connection.close()

        with (
            mock.patch.object(SignInThrottle, "limit", 20),
            time_machine.travel(NOON, tick=False),
            ThreadPoolExecutor(8) as pool,
        ):
            statuses = [*pool.map(refresh, range(60))]
        self.assertEqual([statuses.count(401), statuses.count(429)], [20, 40])


class UserThrottleTests(APITestMixin, TestCase):
    def setUp(self) -> None:
        UserThrottle.counts.clear()
        self.make_world()

    def get(self, user: User) -> Any:
        return self.call("get", "/data-sources", user=user)

    def test_rate_limit_is_per_user(self):
        with limited(UserThrottle), time_machine.travel(NOON, tick=False) as clock:
            self.assertEqual([self.get(self.editor).status_code for _ in range(LIMIT)], [200] * 3)
            response = self.get(self.editor)
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
            self.assertEqual(response["Retry-After"], "60")
            self.assertEqual(self.get(self.viewer).status_code, 200)
            clock.move_to(MINUTE_LATER)
            self.assertEqual(self.get(self.editor).status_code, 200)

    def test_a_refused_request_stores_nothing(self):
        with limited(UserThrottle), time_machine.travel(NOON, tick=False):
            for _ in range(LIMIT):
                self.get(self.admin)
            path = f"/organizations/{self.acme.pk}"
            response = self.call("patch", path, {"name": "Changed"}, self.admin)
        self.assert_error(response, 429, "TOO_MANY_REQUESTS")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")
