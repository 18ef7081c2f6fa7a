"""The page at `/`."""

import re

from django.conf import settings
from django.test import Client, SimpleTestCase

from rivergen.testing.outage import without_database


class IndexTests(SimpleTestCase):
    def setUp(self) -> None:
        # The page needs no sign-in and no query.
        self.response = without_database(lambda: Client().get("/"))
        self.page = self.response.content.decode()

    def test_index_page_links_to_docs_openapi_and_admin(self):
        self.assertEqual(self.response.status_code, 200)
        self.assertEqual(self.response.headers["Content-Type"], "text/html; charset=utf-8")
        links = re.findall(r'<a href="([^"]+)"', self.page)
        self.assertEqual(links, ["/api/docs", "/api/v1/openapi.json", "/admin/"])

    def test_index_page_obeys_the_content_security_policy(self):
        policy = self.response.headers["Content-Security-Policy"]
        self.assertEqual(policy, settings.CONTENT_SECURITY_POLICY)
        self.assertNotRegex(self.page, r"<script|<style|style=|\son\w+=|https?:")
        for path in re.findall(r'<link [^>]*href="([^"]+)"', self.page):
            with self.subTest(path):
                self.assertEqual(Client().get(path).status_code, 200)

    def test_index_page_sets_no_cookie_and_does_not_vary(self):
        self.assertFalse(self.response.cookies)
        self.assertNotIn("Vary", self.response.headers)

    def test_index_page_allows_only_get_and_head(self):
        self.assertEqual(Client().post("/").status_code, 405)
        self.assertEqual(Client().head("/").content, b"")
