"""Tests of `RateLimit-Policy` and `RateLimit`: limits that a client can see coming.

Source: draft-ietf-httpapi-ratelimit-headers.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import time_machine
from django.db import transaction
from django.test import Client, SimpleTestCase
from rest_framework.exceptions import Throttled

from datasources.connection_tests import throttling as test_throttling
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.connections.configuration import Configuration
from datasources.testing import DataSourceTestCase
from organizations.sign_in.hashing import HASHES_AT_A_TIME, hashing
from organizations.sign_in.throttling import SignInThrottle, SiteThrottle, UsernameThrottle
from organizations.testing import PASSWORD, bearer
from rivergen.http.openapi.view import document
from rivergen.http.throttling import UserThrottle
from rivergen.postgresql.prepared import PreparedGet
from rivergen.testing.outage import without_database
from tests.api.testing.route_table import ROUTES, RouteTestCase

# 17 seconds after the start of a minute.
NOW = "2026-11-24T12:00:17Z"
AT_THE_END = "2026-11-24T12:00:59.900Z"
ITEM = re.compile(r'"([a-z-]+)"((?:;[a-z]+=\d+)+)')


def items(header: str) -> dict[str, dict[str, int]]:
    """Return the items of a list of RFC 9651, and the parameters of each, which are integers."""
    found = {}
    for item in header.split(", "):
        match = ITEM.fullmatch(item)
        assert match is not None, header
        pairs = (pair.split("=") for pair in match[2][1:].split(";"))
        assert match[1] not in found, header
        found[match[1]] = {name: int(value) for name, value in pairs}
    return found


class RateLimitTestMixin:
    def policies(self, response: Any) -> dict[str, dict[str, int]]:
        return items(response["RateLimit-Policy"])

    def limits(self, response: Any) -> dict[str, dict[str, int]]:
        return items(response["RateLimit"])

    def remaining(self, response: Any) -> dict[str, int]:
        return {name: limit["r"] for name, limit in self.limits(response).items()}


class RateLimitHeaderTests(RateLimitTestMixin, DataSourceTestCase):
    def setUp(self) -> None:
        UserThrottle.counts.clear()
        self.clock = self.enterContext(time_machine.travel(NOW, tick=False))

    def get(self, path: str = "/me", **headers: str) -> Any:
        return self.call("get", path, user=self.editor, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("post", path, body, self.editor, headers=headers)

    def sign_in(self, password: str = PASSWORD, address: str = "192.0.2.1") -> Any:
        body = {"username": "edith", "password": password}
        return self.call("post", "/auth/token", body, REMOTE_ADDR=address)

    def test_limit_of_the_user_counts_down_to_429_and_never_below_0(self):
        with mock.patch.multiple(UserThrottle, limit=3, seconds=60):
            for status, left in ((200, 2), (200, 1), (200, 0), (429, 0), (429, 0)):
                response = self.get()
                self.assertEqual(response.status_code, status)
                self.assertEqual(response["RateLimit-Policy"], '"user";q=3;w=60')
                self.assertEqual(response["RateLimit"], f'"user";r={left};t=43')
            self.assertEqual(response["Retry-After"], "43")
            self.clock.shift(43)
            self.assertEqual(self.get()["RateLimit"], '"user";r=2;t=60')

    def test_configured_limit_is_shown(self):
        with mock.patch.multiple(UserThrottle, limit=1_000, seconds=3_600):
            self.assertEqual(self.get()["RateLimit-Policy"], '"user";q=1000;w=3600')
        response = self.get()
        self.assertEqual(self.policies(response), {"user": {"q": 6_000, "w": 60}})

    def test_each_user_has_a_limit_of_its_own(self):
        self.get()
        self.assertEqual(self.remaining(self.get()), {"user": 5_998})
        other = self.call("get", "/me", user=self.viewer)
        self.assertEqual(self.remaining(other), {"user": 5_999})

    def test_time_left_is_that_of_the_answer_not_of_the_count(self):
        self.clock.move_to(AT_THE_END)

        def wait(*_: Any) -> Any:
            self.clock.shift(25)
            raise RuntimeError

        with mock.patch.object(PreparedGet, "__call__", side_effect=wait):
            response = self.get(self.path)
        self.assertEqual(response.status_code, 500)
        self.assertEqual(response["RateLimit"], '"user";r=5999;t=0')
        self.assertEqual(self.limits(self.get())["user"], {"r": 5_999, "t": 36})

    def test_every_answer_after_the_count_has_the_headers(self):
        large = b" " * (1024 * 1024 + 1)
        stale = {"If-Match": '"7"'}
        failing = mock.patch.object(PreparedGet, "__call__", side_effect=RuntimeError)
        with failing:
            bug = self.get(self.path)
        editor = self.editor
        for response, status in (
            (self.get(self.path), 200),
            (self.call("patch", self.path, {"port": 5433}, editor), 200),
            (self.call("patch", self.path, b"{", editor), 400),
            (self.call("delete", self.path, user=editor), 403),
            (self.get("/data-sources/999"), 404),
            (self.call("put", self.path, {}, editor), 405),
            (self.call("patch", self.path, {"port": 1}, editor, headers=stale), 412),
            (self.call("patch", self.path, large, editor), 413),
            (self.call("patch", self.path, b"a", editor, content_type="text/plain"), 415),
            (bug, 500),
            (without_database(lambda: self.get(self.path)), 503),
            (self.call("delete", self.path, user=self.admin), 204),
        ):
            with self.subTest(status):
                self.assertEqual(response.status_code, status)
                self.assertEqual({*self.policies(response)}, {"user"})
                self.assertGreater(self.remaining(response)["user"], 5_000)

    def test_answers_that_nothing_limits_have_no_such_headers(self):
        client = Client()
        token = {"Authorization": "Bearer nonsense"}
        for response in (
            self.call("get", "/me"),
            self.call("get", "/me", headers=token),
            self.call("get", "/openapi.json"),
            self.get("/nothing"),
            client.get("/healthz"),
            client.get("/", headers={"Authorization": bearer(self.editor)}),
        ):
            self.assertNotIn("RateLimit", response)
            self.assertNotIn("RateLimit-Policy", response)

    def test_sign_in_shows_the_limit_of_the_address(self):
        with mock.patch.multiple(SignInThrottle, limit=3, seconds=60):
            for password, status, left in (
                ("a", 401, 2),
                (PASSWORD, 200, 1),
                ("b", 401, 0),
                (PASSWORD, 429, 0),
            ):
                response = self.sign_in(password)
                self.assertEqual(response.status_code, status)
                self.assertEqual(response["RateLimit-Policy"], '"token";q=3;w=60')
                self.assertEqual(response["RateLimit"], f'"token";r={left};t=43')
            other = self.sign_in(address="192.0.2.2")
            self.assertEqual(self.remaining(other), {"token": 2})
            refreshed = self.call("post", "/auth/token/refresh", b"{", REMOTE_ADDR="192.0.2.3")
            self.assertEqual(self.remaining(refreshed), {"token": 2})

    def test_sign_in_from_ipv6_shows_the_limits_of_address_and_network(self):
        for left, network, address in ((59, 599, "2001:db8::1"), (59, 598, "2001:db8:0:1::1")):
            response = self.sign_in(address=address)
            policies = '"token";q=60;w=60, "token-network";q=600;w=60'
            self.assertEqual(response["RateLimit-Policy"], policies)
            self.assertEqual(self.remaining(response), {"token": left, "token-network": network})
        with mock.patch.object(SiteThrottle, "limit", 2):
            response = self.sign_in(address="2001:db8:0:2::1")
        self.assertEqual(response.status_code, 429)
        self.assertEqual(self.remaining(response), {"token": 59, "token-network": 0})

    def test_attempts_of_others_for_a_username_are_shown_only_when_none_is_left(self):
        with mock.patch.multiple(UsernameThrottle, limit=2, seconds=60):
            for address in ("192.0.2.1", "192.0.2.2"):
                response = self.sign_in("a", address)
                self.assertEqual({*self.policies(response)}, {"token"})
                self.assertEqual(self.remaining(response), {"token": 59})
            response = self.sign_in(address="192.0.2.3")
        self.assertEqual(response.status_code, 429)
        self.assertEqual(self.policies(response)["token-username"], {"q": 2, "w": 60})
        self.assertEqual(self.remaining(response), {"token": 59, "token-username": 0})

    def test_tests_and_refreshes_show_both_limits(self):
        draft = {"type": "csv", "file_path": "a.csv"}
        self.data_source.set_credentials({"password": "hunter2"}, user=self.editor)
        with mock.patch.multiple(ConnectionTestThrottle, limit=3, seconds=3_600):
            for number, (path, body) in enumerate(
                (
                    (f"{self.path}/test", None),
                    ("/data-sources/test", draft),
                    (f"{self.path}/schema/refresh", None),
                    (f"{self.path}/test", None),
                )
            ):
                response = self.post(path, body)
                self.assertEqual(response.status_code, 202 if number < 3 else 429)
                policies = '"user";q=6000;w=60, "test";q=3;w=3600'
                self.assertEqual(response["RateLimit-Policy"], policies)
                left = max(2 - number, 0)
                limits = f'"user";r={5_999 - number};t=43, "test";r={left};t=3583'
                self.assertEqual(response["RateLimit"], limits)
        self.assertEqual(response["Retry-After"], "3583")

    def test_replayed_answer_shows_only_what_counted_it(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.editor)
        key = {"Idempotency-Key": "a"}
        first = self.post(f"{self.path}/test", **key)
        self.assertEqual(self.remaining(first), {"user": 5_999, "test": 59})
        replayed = self.post(f"{self.path}/test", **key)
        self.assertEqual(replayed["Idempotency-Replayed"], "true")
        self.assertEqual(self.remaining(replayed), {"user": 5_998})
        self.assertEqual(self.remaining(self.post(f"{self.path}/test"))["test"], 58)

    def test_refusal_because_of_load_has_nothing_left_until_retry_after(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.editor)
        for _ in range(2):
            ConnectionTest.objects.request(
                Configuration("csv"), of=self.data_source, is_stored=True, user=self.editor
            )
        with mock.patch.object(test_throttling, "RUNNING_MAX", 2):
            response = self.post(f"{self.path}/test")
        self.assertEqual(response.status_code, 429)
        self.assertEqual(self.limits(response)["wait"], {"r": 0, "t": 1})
        self.assertEqual({*self.policies(response)}, {"user", "test"})
        places = [self.enterContext(hashing()) for _ in range(HASHES_AT_A_TIME)]
        self.assertEqual(len(places), HASHES_AT_A_TIME)
        response = self.sign_in()
        self.assertEqual((response.status_code, response["Retry-After"]), (429, "1"))
        self.assertEqual(self.limits(response)["wait"], {"r": 0, "t": 1})

    def test_refusal_without_retry_after_is_answered(self):
        with mock.patch.object(PreparedGet, "__call__", side_effect=Throttled):
            response = self.get(self.path)
        self.assertEqual(response.status_code, 429)
        self.assertEqual(response["RateLimit"], '"user";r=5999;t=43')

    def test_parallel_requests_do_not_mix_their_limits(self):
        users = [self.editor, self.viewer, self.admin]

        def count_down(user: Any) -> list[int]:
            client = Client()
            headers = {"Authorization": bearer(user)}
            answers = [client.get("/api/v1/nothing", headers=headers)]
            answers += [client.put("/api/v1/me", headers=headers) for _ in range(50)]
            assert "RateLimit" not in answers[0]
            return [self.remaining(answer)["user"] for answer in answers[1:]]

        with ThreadPoolExecutor(3) as pool:
            found = [*pool.map(count_down, users)]
        self.assertEqual(found, [[*range(5_999, 5_949, -1)]] * 3)


class RateLimitOfRoutesTests(RateLimitTestMixin, RouteTestCase):
    def test_every_route_shows_the_limit_of_the_user(self):
        for method, path in ROUTES:
            with self.subTest(method=method, path=path), transaction.atomic():
                response, _ = self.try_as(self.owner, method, path)
                self.assertEqual(self.policies(response)["user"], {"q": 6_000, "w": 60})
                self.assertLess(self.remaining(response)["user"], 6_000)


class DescriptionTests(SimpleTestCase):
    def test_every_response_in_openapi_json_may_have_the_headers(self):
        described = document()
        for path, item in described["paths"].items():
            for method, operation in item.items():
                for status, response in operation["responses"].items():
                    with self.subTest(method=method, path=path, status=status):
                        headers = self.resolved(response)["headers"]
                        for name in ("RateLimit-Policy", "RateLimit"):
                            header = self.resolved(headers[name])
                            self.assertFalse(header.get("required", False))
                            self.assertTrue(header["description"])
                            self.assertTrue(items(header["example"]))

    @staticmethod
    def resolved(node: dict[str, Any]) -> Any:
        """Return what a reference refers to, or the node itself if it is none."""
        found: Any = document() if "$ref" in node else node
        for key in node.get("$ref", "#/").split("/")[1:]:
            found = found[key] if key else found
        return found
