"""Tests of what every response has: the envelope, the request id and the security policy."""

import io
import logging
from typing import Any
from unittest import mock

from django.db import InterfaceError, OperationalError, connection, transaction
from django.test import Client
from psycopg.errors import LockNotAvailable
from rest_framework.test import APIClient

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase, admin_client
from organizations.testing import PASSWORD, bearer
from rivergen.postgresql.prepared import PreparedGet
from rivergen.testing.outage import without_database

JSON = "application/json"
VALID_IDS = ("a", "7", "-", ".", "A-z_0.9", "x" * 128, "6f1c0d5e-2b7a-4c3d-9e8f-0a1b2c3d4e5f")
INVALID_IDS = (
    *("", " ", "x" * 129, "a b", " a", "a\nb", "a\n", "a\r\nSet-Cookie: b=c", "a\tb", "a\0b"),
    *("é", "１", "a/b", "a,b", "a;b", '"a"', "<script>", "{}", "%20", "a:b"),
)
ALLOWED_METHODS = (
    ("/data-sources", {"GET", "HEAD", "POST", "PATCH"}),
    ("/data-source-types", {"GET", "HEAD"}),
    ("/organizations", {"GET", "HEAD"}),
    ("/me", {"GET", "HEAD"}),
    ("/auth/token", {"POST"}),
    ("/openapi.json", {"GET", "HEAD"}),
)


class EnvelopeTests(DataSourceTestCase):
    def request(self, method: str, path: str, **headers: str) -> Any:
        client = Client(raise_request_exception=False)
        return client.generic(method, path, headers=headers)

    def test_unknown_api_paths_are_404_in_the_envelope(self):
        for path in (
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v2/data-sources",
            "/api/v1/nothing",
            "/api/v1/data-sources/",
            f"/api/v1{self.path}/",
            f"/api/v1{self.path}/nothing",
            "/api/v1/data-sources.json",
            "/api/v1//data-sources",
            "/api/v1/DATA-SOURCES",
            "/api/v1/%00",
            "/api/v1/%ff",
            "/api/v1/é",
            "/api/docs/",
        ):
            for method in ("GET", "POST", "PATCH", "DELETE", "OPTIONS"):
                with self.subTest(path=path, method=method):
                    response = self.request(method, path, Authorization=bearer(self.editor))
                    self.assert_error(response, 404, "NOT_FOUND")
                    self.assertEqual(response["Content-Type"], JSON)

    def test_unknown_paths_outside_the_api_are_html_404(self):
        for path in ("/nothing", "/api", "/apiary", "/v1/data-sources", "/healthz/"):
            with self.subTest(path=path):
                response = self.request("GET", path)
                self.assertEqual(response.status_code, 404)
                self.assertTrue(response["Content-Type"].startswith("text/html"))
                self.assertTrue(response["X-Request-ID"])

    def test_unsupported_methods_are_405_with_allow_header(self):
        for path, allowed in ALLOWED_METHODS:
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - allowed:
                with self.subTest(path=path, method=method):
                    response = self.call(method.lower(), path, user=self.owner)
                    self.assert_error(response, 405, "METHOD_NOT_ALLOWED")
                    self.assertLessEqual(allowed, {*response["Allow"].split(", ")})
        for method in ("PUT", "TRACE", "PROPFIND", "QUERY", "X"):
            with self.subTest(method=method):
                path = f"/api/v1{self.path}"
                response = self.request(method, path, Authorization=bearer(self.owner))
                self.assert_error(response, 405, "METHOD_NOT_ALLOWED")
                allowed = {*response["Allow"].split(", ")}
                self.assertEqual(allowed, {"GET", "HEAD", "PATCH", "DELETE"})
        self.assertEqual(DataSource.objects.get().version, 1)

    def test_allow_header_names_exactly_the_accepted_methods(self):
        for path, allowed in ALLOWED_METHODS:
            with self.subTest(path=path):
                response = self.call("put", path, user=self.owner)
                self.assertEqual({*response["Allow"].split(", ")}, allowed)

    def test_accept_header_without_json_is_406(self):
        for path in (self.path, "/data-sources", "/me", "/openapi.json"):
            for accept in ("text/html", "application/xml", "text/html, image/*;q=0.5", "nonsense"):
                with self.subTest(path=path, accept=accept):
                    response = self.call("get", path, user=self.editor, headers={"Accept": accept})
                    self.assert_error(response, 406, "NOT_ACCEPTABLE")
                    self.assertEqual(response["Content-Type"], JSON)

    def test_accept_header_that_includes_json_is_200(self):
        for accept in ("*/*", "application/*", "application/json", "text/html, */*;q=0.1"):
            with self.subTest(accept=accept):
                response = self.call("get", self.path, user=self.editor, headers={"Accept": accept})
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response["Content-Type"], JSON)

    def test_docs_page_errors_have_the_envelope(self):
        for method, headers, status in (
            ("POST", {}, 405),
            ("PUT", {}, 405),
            ("GET", {"Accept": "application/xml"}, 406),
        ):
            with self.subTest(method=method, headers=headers):
                response = self.request(method, "/api/docs", **headers)
                code = {405: "METHOD_NOT_ALLOWED", 406: "NOT_ACCEPTABLE"}[status]
                self.assert_error(response, status, code)

    def test_unexpected_error_is_500_without_internals_and_is_logged(self):
        bug = RuntimeError("SELECT secret FROM vault")
        with (
            mock.patch.object(PreparedGet, "__call__", side_effect=bug),
            self.assertLogs("rivergen.errors", logging.ERROR) as logs,
        ):
            response = self.call("get", self.path, user=self.editor)
        self.assert_error(response, 500, "INTERNAL_ERROR")
        text = response.content.decode()
        for internal in ("RuntimeError", "secret", "vault", "Traceback", ".py", "SELECT"):
            self.assertNotIn(internal, text)
        self.assertIn("RuntimeError: SELECT secret FROM vault", logs.output[0])
        self.assertIn("Traceback", logs.output[0])

    def test_unexpected_error_outside_of_views_is_500_in_the_envelope(self):
        bug = RuntimeError("SELECT secret FROM vault")
        with mock.patch(
            "rivergen.http.openapi.view.OpenAPIView.initialize_request", side_effect=bug
        ):
            response = self.request("GET", "/api/v1/openapi.json")
        self.assert_error(response, 500, "INTERNAL_ERROR")
        self.assertNotIn("vault", response.content.decode())

    def test_unreachable_database_is_503(self):
        header = {"Authorization": bearer(self.editor)}
        for path in (self.path, "/data-sources", "/me", "/data-source-types"):
            with self.subTest(path=path):
                response = without_database(lambda p=path: self.call("get", p, headers=header))
                self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
                self.assertGreater(int(response["Retry-After"]), 0)
                self.assertNotIn("127.0.0.1", response.content.decode())

    def test_unreachable_database_is_503_in_the_admin(self):
        client = admin_client(self.owner, raise_request_exception=False)
        response = without_database(lambda: client.get("/admin/"))
        self.assertEqual(response.status_code, 503)
        self.assertGreater(int(response["Retry-After"]), 0)
        self.assertNotIn("127.0.0.1", response.content.decode())

    def test_lock_timeout_is_503_and_the_message_names_it(self):
        failure = OperationalError("canceling statement due to lock timeout")
        failure.__cause__ = LockNotAvailable()
        with mock.patch.object(PreparedGet, "__call__", side_effect=failure):
            response = self.call("patch", self.path, {"name": "Lake"}, self.editor)
        error = self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
        self.assertIn("Another request is changing this", error["message"])

    def test_read_only_database_is_503(self):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            response = self.call("patch", self.path, {"name": "Lake"}, self.editor)
            transaction.set_rollback(True)
        self.assert_error(response, 503, "SERVICE_UNAVAILABLE")

    def test_lost_database_connection_is_503(self):
        for failure in (OperationalError("server closed: db.internal"), InterfaceError("closed")):
            with (
                self.subTest(failure=failure),
                mock.patch.object(PreparedGet, "__call__", side_effect=failure),
            ):
                response = self.call("patch", self.path, {"name": "Lake"}, self.editor)
                self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
                self.assertGreater(int(response["Retry-After"]), 0)
                self.assertNotIn("db.internal", response.content.decode())
        self.data_source.refresh_from_db()
        self.assertEqual(
            (self.data_source.name, self.data_source.version), ("Production PostgreSQL", 1)
        )

    def test_host_header_that_is_not_allowed_is_400(self):
        for path in ("/me", "/data-sources", self.path, "/openapi.json"):
            for host in ("evil.example", "testserver.evil.example", "a b", "testserver:x"):
                with self.subTest(path=path, host=host):
                    response = self.call("get", path, user=self.editor, headers={"Host": host})
                    self.assert_error(response, 400, "BAD_REQUEST")

    def test_valid_request_ids_are_kept(self):
        for sent in VALID_IDS:
            with self.subTest(sent=sent):
                response = self.call("get", "/me", headers={"X-Request-ID": sent})
                self.assertEqual(response["X-Request-ID"], sent)
                self.assertEqual(response.json()["error"]["request_id"], sent)

    def test_invalid_request_ids_are_replaced(self):
        for sent in INVALID_IDS:
            with self.subTest(sent=sent):
                response = self.call("get", "/me", headers={"X-Request-ID": sent})
                self.assertRegex(response["X-Request-ID"], r"^[A-Za-z0-9._-]{1,128}\Z")
                self.assertNotEqual(response["X-Request-ID"], sent)
                self.assertEqual(response.json()["error"]["request_id"], response["X-Request-ID"])

    def test_requests_without_an_id_get_different_ids(self):
        ids = {self.call("get", "/me")["X-Request-ID"] for _ in range(5)}
        self.assertEqual(len(ids), 5)

    def test_log_lines_have_the_request_id(self):
        bug = RuntimeError("boom")
        headers = {"X-Request-ID": "abc.1"}
        with mock.patch.object(PreparedGet, "__call__", side_effect=bug):
            lines = self.logged("get", self.path, user=self.editor, headers=headers)
        error, request = lines  # Django's own loggers write no line
        self.assertIn("ERROR rivergen.errors [abc.1]", error)
        self.assertIn("INFO rivergen.request [abc.1] GET", request)
        self.assertIn(" 500 ", request)

    def test_host_header_that_is_not_allowed_is_one_log_line(self):
        (line,) = self.logged("get", "/me", headers={"Host": "evil.example"})
        self.assertIn(" 400 ", line)

    def logged(self, *request: Any, **options: Any) -> list[str]:
        """Send a request; return the first line of each record that the console shows."""
        console: Any = next(h for h in logging.getLogger().handlers if h.name == "console")
        log = io.StringIO()
        stderr = console.setStream(log)
        try:
            self.call(*request, **options)
        finally:
            console.setStream(stderr)
        return [line for line in log.getvalue().splitlines() if line.startswith("20")]

    def test_log_line_has_the_path_on_one_line_and_no_token(self):
        header = bearer(self.editor)
        with self.assertLogs("rivergen.request") as logs:
            APIClient().get("/api/v1/a%0AINFO%20forged", headers={"Authorization": header})
        self.assertEqual(len(logs.output), 1)
        self.assertEqual(len(logs.output[0].splitlines()), 1)
        self.assertNotIn(header.split()[1], logs.output[0])

    def test_every_response_has_a_request_id_and_a_security_policy(self):
        for path in ("/api/v1/me", f"/api/v1{self.path}", "/api/docs", "/api/nothing", "/healthz",
                     "/readyz", "/nothing", "/admin/login/", "/api/v1/openapi.json"):  # fmt: skip
            with self.subTest(path=path):
                response = self.request("GET", path)
                self.assertTrue(response["X-Request-ID"])
                policy = response["Content-Security-Policy"]
                self.assertIn("default-src 'self'", policy)
                self.assertIn("frame-ancestors 'none'", policy)
                self.assertNotIn("unsafe-eval", policy)

    def test_repeated_query_parameters_are_400(self):
        for method, path, name in (
            ("get", "/data-sources?page_size=1&page_size=2", "page_size"),
            ("get", "/data-sources?search=a&search=b", "search"),
            ("get", f"{self.path}/history?cursor=a&cursor=b", "cursor"),
            ("patch", f"{self.path}?dry_run=true&dry_run=false", "dry_run"),
        ):
            with self.subTest(path=path):
                body = {"port": 5} if method == "patch" else None
                response = self.call(method, path, body, self.owner)
                self.assert_error(response, 400, "BAD_REQUEST", name)

    def test_every_response_has_the_headers_that_protect_browsers(self):
        for path in ("/", "/api/v1/me", "/api/docs", "/admin/login/", "/nothing", "/healthz",
                     "/static/admin/css/base.css", "/static/", "/static/admin/"):  # fmt: skip
            with self.subTest(path=path):
                response = Client().get(path, secure=True, headers={"Origin": "https://evil.test"})
                self.assertTrue(response["Content-Type"])
                for name, value in (
                    ("X-Content-Type-Options", "nosniff"),
                    ("Referrer-Policy", "same-origin"),
                    ("Cross-Origin-Opener-Policy", "same-origin"),
                    ("Strict-Transport-Security", "max-age=31536000"),
                ):
                    self.assertEqual(response[name], value)
                for directive in ("object-src 'none'", "base-uri 'none'", "form-action 'self'"):
                    self.assertIn(directive, response["Content-Security-Policy"])
                # Static files are the same for everybody; a folder is not listed.
                is_static = path.endswith(".css")
                self.assertEqual("Access-Control-Allow-Origin" in response, is_static)
                self.assertEqual(
                    response.status_code == 404, path in ("/nothing", "/static/", "/static/admin/")
                )

    def test_no_response_is_stored_by_caches_except_static_files(self):
        token = {"Authorization": bearer(self.viewer)}
        for path in ("/api/v1/me", f"/api/v1{self.path}", "/api/v1/data-sources", "/api/nothing",
                     "/admin/login/", "/nothing", "/metrics"):  # fmt: skip
            with self.subTest(path=path):
                response = self.request("GET", path, **token)
                self.assertIn("no-store", response["Cache-Control"])
        staff = admin_client(self.admin)
        for path in ("/admin/", "/admin/password_change/"):
            with self.subTest(path=path):
                self.assertIn("no-store", staff.get(path)["Cache-Control"])
        body = {"username": self.viewer.username, "password": PASSWORD}
        response = self.call("post", "/auth/token", body)
        self.assertEqual((response.status_code, response["Cache-Control"]), (200, "no-store"))
        self.assertIn("public", self.request("GET", "/static/admin/css/base.css")["Cache-Control"])
