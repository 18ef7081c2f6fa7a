"""Pages of other origins in a real browser: a web server, a worker, and Chromium."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from datasources.admin.testing import Browser, Page, chromium
from datasources.connection_tests.testing import WorkerTestCase
from organizations.testing import bearer
from rivergen.testing.gunicorn import gunicorn
from rivergen.testing.services import free_port

# Sends a request as a page does; returns what the page can read, or the browser's refusal.
SEND = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        const text = await response.text();
        return {
            status: response.status,
            headers: Object.fromEntries(response.headers),
            body: text && JSON.parse(text),
        };
    } catch (error) {
        return {error: error.name};
    }
}"""
REFUSED = {"error": "TypeError"}
MERGE_PATCH = "application/merge-patch+json"


class EmptyPage(BaseHTTPRequestHandler):
    """Serves an empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>A page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    """Serve an empty page on a port of its own; yield its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class PagesInBrowserTests(WorkerTestCase):
    browser: Browser
    allowed: str
    foreign: str
    api: str
    log: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Playwright runs an event loop in this thread, in which Django expects no queries.
        allow = {"DJANGO_ALLOW_ASYNC_UNSAFE": "1"}
        cls.enterClassContext(mock.patch.dict(os.environ, allow))
        cls.browser = cls.enterClassContext(chromium())
        cls.allowed = cls.enterClassContext(site())
        cls.foreign = cls.enterClassContext(site())
        cls.log = Path(cls.enterClassContext(TemporaryDirectory())) / "log"
        file = cls.enterClassContext(cls.log.open("wb"))
        variables = {"CORS_ALLOWED_ORIGINS": cls.allowed, "WEB_CONCURRENCY": "1"}
        _, port = cls.enterClassContext(gunicorn(file, **variables))
        cls.api = f"http://127.0.0.1:{port}/api/v1"

    def setUp(self) -> None:
        super().setUp()
        # Nothing listens there, so a connection test fails at once.
        destination = {"host": "127.0.0.1", "port": free_port()}
        self.data_source.apply_changes(destination, user=self.owner)
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)

    def open(self, origin: str) -> Page:
        page = self.browser.new_page()
        self.addCleanup(page.close)
        page.goto(origin)
        return page

    def send(self, page: Page, method: str, path: str, body: str = "", **headers: str) -> Any:
        options: dict[str, Any] = {"method": method, "headers": headers}
        if body:
            options["body"] = body
        return page.evaluate(SEND, [f"{self.api}{path}", options])

    def requests(self, method: str) -> int:
        """Return how many requests by this method the web server has logged for the data source."""
        return self.log.read_text().count(f"{method} '/api/v1{self.path}'")

    def test_allowed_page_updates_with_if_match_and_reads_the_etag(self):
        page, token = self.open(self.allowed), {"Authorization": bearer(self.editor)}
        read = self.send(page, "GET", self.path, **token)
        self.assertEqual((read["status"], read["headers"]["etag"]), (200, '"3"'))
        self.assertEqual(self.requests("OPTIONS"), 1)
        body = '{"metadata": {"team": "data"}, "description": "From a page"}'
        versioned = {"If-Match": read["headers"]["etag"], "Content-Type": MERGE_PATCH}
        changed = self.send(page, "PATCH", self.path, body, **token, **versioned)
        self.assertEqual((changed["status"], changed["headers"]["etag"]), (200, '"4"'))
        self.assertEqual(changed["body"]["data"]["metadata"], {"team": "data"})
        self.assertTrue(changed["headers"]["x-request-id"])
        self.assertEqual(self.requests("OPTIONS"), 2)
        self.data_source.refresh_from_db()
        self.assertEqual(self.data_source.description, "From a page")
        stale = self.send(page, "PATCH", self.path, body, **token, **versioned)
        self.assertEqual((stale["status"], stale["headers"]["etag"]), (412, '"4"'))
        self.assertEqual(stale["body"]["error"]["code"], "PRECONDITION_FAILED")

    def test_allowed_page_reads_failures(self):
        page, token = self.open(self.allowed), {"Authorization": bearer(self.editor)}
        for path, headers, status in (
            (self.path, {}, 401),
            (self.path, {"Authorization": "Bearer nonsense"}, 401),
            ("/nothing", token, 404),
            ("/data-sources?page_size=0", token, 400),
        ):
            with self.subTest(path, status=status):
                answer = self.send(page, "GET", path, **headers)
                self.assertEqual(answer["status"], status)
                error = answer["body"]["error"]
                self.assertEqual(error["request_id"], answer["headers"]["x-request-id"])

    def test_page_never_sees_a_stale_status(self):
        page, token = self.open(self.allowed), {"Authorization": bearer(self.editor)}
        for _ in range(2):
            read = self.send(page, "GET", self.path, **token)
            self.assertEqual(read["body"]["data"]["status"], "active")
        tested = self.send(page, "POST", f"{self.path}/test?wait=30", **token)
        self.assertEqual((tested["status"], tested["body"]["data"]["ok"]), (200, False))
        for path in (self.path, "/data-sources"):
            again = self.send(page, "GET", path, **token)["body"]["data"]
            [shown] = again if isinstance(again, list) else [again]
            self.assertEqual(shown["status"], "error")
            self.assertEqual(shown["last_test"]["code"], tested["body"]["data"]["code"])
        page.reload()
        reloaded = self.send(page, "GET", self.path, **token)
        self.assertEqual(reloaded["body"]["data"]["status"], "error")

    def test_browser_refuses_the_requests_of_other_pages(self):
        page, token = self.open(self.foreign), {"Authorization": bearer(self.owner)}
        before, patches = self.stored(), self.requests("PATCH")
        json_type = {"Content-Type": "application/json"}
        for method, path, body, headers in (
            ("GET", self.path, "", token),
            ("PATCH", self.path, '{"port": 1}', token | json_type),
            ("DELETE", self.path, "", token),
            ("POST", "/data-sources", '{"name": "a", "type": "csv"}', token | json_type),
            # These need no preflight, so they arrive, but without a token or a type.
            ("GET", self.path, "", {}),
            ("POST", "/data-sources", '{"name": "a", "type": "csv"}', {}),
        ):
            with self.subTest(method, path=path, headers=[*headers]):
                self.assertEqual(self.send(page, method, path, body, **headers), REFUSED)
        self.assertEqual(self.requests("PATCH"), patches)
        self.assertEqual(self.stored(), before)

    def test_every_page_reads_openapi_json(self):
        for origin in (self.foreign, self.allowed):
            page = self.open(origin)
            for headers in ({}, {"X-Request-ID": "from-a-page"}):  # the second needs a preflight
                answer = self.send(page, "GET", "/openapi.json", **headers)
                self.assertEqual(answer["status"], 200)
                self.assertEqual(answer["body"]["openapi"], "3.1.0")
