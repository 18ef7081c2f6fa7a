"""Tests of pages of other origins: preflights, and the CORS headers of each answer."""

from typing import Any
from unittest import mock

from django.test import Client, override_settings

from datasources.testing import DataSourceTestCase, admin_client
from organizations.testing import bearer
from rivergen.http.throttling import UserThrottle
from rivergen.observability import metrics
from rivergen.postgresql.prepared import PreparedGet
from rivergen.testing.outage import without_database

APP = "https://app.example.com"
OTHERS = (
    *("https://evil.test", "http://app.example.com", "https://app.example.com:8443"),
    *("https://app.example.com.evil.test", "https://evil-app.example.com", "null", "*", "", "[::1"),
)
REQUEST_HEADERS = {
    *("Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key"),
    "X-Request-ID",
}
EXPOSED = {"ETag", "Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
ALLOW = "Access-Control-Allow-"


def listed(value: str) -> set[str]:
    """Return the items of a header that is a list."""
    return {item.strip() for item in value.split(",")}


def cors_headers(response: Any) -> set[str]:
    """Return the names of the CORS headers of a response."""
    return {name for name in response.headers if name.lower().startswith("access-control-")}


@override_settings(CORS_ALLOWED_ORIGINS=[APP, "http://localhost:3000"])
class CORSTests(DataSourceTestCase):
    def request(self, method: str, path: str, body: Any = b"", **headers: str) -> Any:
        client = Client(raise_request_exception=False)
        kind = headers.pop("content_type", "application/json")
        return client.generic(method, path, body, content_type=kind, headers=headers)

    def preflight(self, path: str, origin: str = APP, method: str = "PATCH", **more: str) -> Any:
        headers = {"Origin": origin, "Access-Control-Request-Method": method, **more}
        return self.request("OPTIONS", path, **headers)

    def assert_allowed(self, response: Any, origin: str = APP) -> None:
        self.assertEqual(response[f"{ALLOW}Origin"], origin)
        self.assertEqual(listed(response["Access-Control-Expose-Headers"]), EXPOSED)
        self.assertNotIn(f"{ALLOW}Credentials", response)
        self.assertIn("origin", listed(response["Vary"].lower()))

    def test_preflight_is_answered_without_a_token(self):
        for path in ("/me", "/data-sources", self.path, "/auth/token", "/nothing"):
            with self.subTest(path):
                asked = {"Access-Control-Request-Headers": "authorization,if-match"}
                response = self.preflight(f"/api/v1{path}", **asked)
                self.assertEqual((response.status_code, response.content), (200, b""))
                self.assert_allowed(response)
                self.assertEqual(listed(response[f"{ALLOW}Headers"]), REQUEST_HEADERS)
                self.assertEqual(listed(response[f"{ALLOW}Methods"]), METHODS)
                self.assertGreater(int(response["Access-Control-Max-Age"]), 0)

    def test_preflight_counts_in_no_limit_and_needs_no_database(self):
        with mock.patch.object(UserThrottle, "limit", 0), self.assertNumQueries(0):
            response = self.preflight(f"/api/v1{self.path}", Authorization=bearer(self.editor))
        self.assert_allowed(response)

    def test_preflight_has_an_id_and_the_security_policy_and_is_logged_and_counted(self):
        route = "/api/v1/data-sources/{data_source_id}"
        counted = metrics.REQUESTS.labels("OPTIONS", route, 200)._value
        before = counted.get()
        with self.assertLogs("rivergen.request") as logs:
            response = self.preflight(f"/api/v1{self.path}", **{"X-Request-ID": "mine-1"})
        self.assertEqual(response["X-Request-ID"], "mine-1")
        self.assertEqual(response["Cache-Control"], "no-store")
        self.assertIn("default-src 'self'", response["Content-Security-Policy"])
        self.assertEqual(response["X-Content-Type-Options"], "nosniff")
        self.assertIn("OPTIONS", logs.output[0])
        self.assertEqual(counted.get(), before + 1)

    def test_preflight_of_another_origin_allows_nothing(self):
        for origin in OTHERS:
            with self.subTest(origin):
                response = self.preflight(f"/api/v1{self.path}", origin)
                self.assertEqual(cors_headers(response), set())

    def test_other_origins_get_no_cors_headers(self):
        for origin in OTHERS:
            for path in ("/me", self.path, "/nothing"):
                with self.subTest(origin, path=path):
                    headers = {"Authorization": bearer(self.editor), "Origin": origin}
                    response = self.request("GET", f"/api/v1{path}", **headers)
                    self.assertEqual(cors_headers(response), set())
                    self.assertIn("origin", listed(response["Vary"].lower()))

    def test_every_success_has_the_headers(self):
        token = bearer(self.admin)
        for method, path, body, status in (
            ("GET", self.path, b"", 200),
            ("HEAD", self.path, b"", 200),
            ("PATCH", self.path, b'{"port": 5433}', 200),
            ("POST", "/data-sources", b'{"name": "Lake", "type": "csv"}', 201),
            ("DELETE", self.path, b"", 204),
        ):
            with self.subTest(method, path=path):
                headers = {"Authorization": token, "Origin": APP}
                response = self.request(method, f"/api/v1{path}", body, **headers)
                self.assertEqual(response.status_code, status)
                self.assert_allowed(response)

    def test_not_modified_has_the_headers(self):
        headers = {"Authorization": bearer(self.editor), "Origin": APP}
        found = self.request("GET", f"/api/v1{self.path}", **headers)
        headers["If-None-Match"] = found["ETag"]
        response = self.request("GET", f"/api/v1{self.path}", **headers)
        self.assertIn(response.status_code, (200, 304))
        self.assert_allowed(response)

    def failures(self) -> dict[str, Any]:
        """Return a failure of each kind, to a page of an allowed origin."""
        token, path = bearer(self.editor), f"/api/v1{self.path}"
        mine = {"Authorization": token, "Origin": APP}
        large = b" " * (1024 * 1024 + 1)
        stale = {"If-Match": '"7"'}
        found = {
            "400": self.request("PATCH", path, b"{", **mine),
            "400 of the host": self.request("GET", path, **mine, Host="evil.test"),
            "401": self.request("GET", path, Origin=APP),
            "403": self.request("DELETE", path, **mine),
            "404": self.request("GET", "/api/v1/data-sources/999", **mine),
            "404 of an unknown path": self.request("GET", "/api/v1/nothing", **mine),
            "405": self.request("PUT", path, **mine),
            "406": self.request("GET", path, **mine, Accept="text/html"),
            "412": self.request("PATCH", path, b'{"port": 1}', **mine, **stale),
            "413": self.request("PATCH", path, large, **mine),
            "415": self.request("PATCH", path, b"a", **mine, content_type="text/plain"),
            "503": without_database(lambda: self.request("GET", path, **mine)),
        }
        with mock.patch.object(UserThrottle, "limit", 0):
            found["429"] = self.request("GET", path, **mine)
        with mock.patch.object(PreparedGet, "__call__", side_effect=RuntimeError):
            found["500"] = self.request("GET", path, **mine)
        outside = "rivergen.http.openapi.view.OpenAPIView.initialize_request"
        with mock.patch(outside, side_effect=RuntimeError):
            found["500 outside of a view"] = self.request("GET", "/api/v1/openapi.json", **mine)
        return found

    def test_every_failure_has_the_headers(self):
        for name, response in self.failures().items():
            with self.subTest(name):
                self.assertEqual(str(response.status_code), name[:3])
                self.assertEqual(response.json()["error"]["request_id"], response["X-Request-ID"])
                self.assert_allowed(response)

    def test_options_without_preflight_is_405_in_the_envelope(self):
        for headers in ({}, {"Authorization": bearer(self.owner)}):
            for path, status in (("/auth/token", 405), ("/openapi.json", 405), ("/nothing", 404)):
                with self.subTest(path, headers=headers):
                    response = self.request("OPTIONS", f"/api/v1{path}", Origin=APP, **headers)
                    self.assertEqual(response.status_code, status)
                    self.assertFalse(response.json()["success"])
                    self.assert_allowed(response)
        response = self.request("OPTIONS", f"/api/v1{self.path}", Authorization=bearer(self.owner))
        self.assert_error(response, 405, "METHOD_NOT_ALLOWED")

    def test_openapi_json_is_open_to_all_origins(self):
        path = "/api/v1/openapi.json"
        for origin in (APP, "https://evil.test", "null"):
            with self.subTest(origin):
                response = self.request("GET", path, Origin=origin)
                self.assertEqual(response.status_code, 200)
                self.assertIn(response[f"{ALLOW}Origin"], (origin, "*"))
                response = self.preflight(path, origin, "GET")
                self.assertIn(response[f"{ALLOW}Origin"], (origin, "*"))
        for near in ("/api/v1/openapi.json/", "/api/v1/me", "/static/x/api/v1/openapi.json"):
            response = self.request("GET", near, Origin="https://evil.test")
            self.assertEqual(cors_headers(response), set())

    def test_only_the_api_has_cors_headers(self):
        for path in ("/", "/admin/login/", "/api/docs", "/healthz", "/metrics", "/api/v2/me",
                     "/nothing", "/api/v10/me", "/x/api/v1/me"):  # fmt: skip
            with self.subTest(path):
                self.assertEqual(cors_headers(self.request("GET", path, Origin=APP)), set())
                self.assertEqual(cors_headers(self.preflight(path)), set())
        staff = admin_client(self.admin)
        self.assertEqual(cors_headers(staff.get("/admin/", headers={"Origin": APP})), set())

    def test_no_origin_may_call_by_default(self):
        with override_settings(CORS_ALLOWED_ORIGINS=[]):
            response = self.preflight(f"/api/v1{self.path}")
        self.assertEqual(cors_headers(response), set())
