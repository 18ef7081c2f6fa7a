"""Tests of compressed answers: which are, and that their `ETag` and bytes stay the same."""

import gzip
from typing import Any
from unittest import mock

from django.http import HttpResponse
from django.test import RequestFactory, SimpleTestCase

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase, admin_client
from datasources.tests.test_differences import large_metadata
from organizations.testing import PASSWORD
from rivergen.http import compression
from rivergen.http.compression import accepts_gzip

GZIP = {"Accept-Encoding": "gzip"}


class AcceptEncodingTests(SimpleTestCase):
    def test_header_that_accepts_gzip(self):
        for header in (
            *("gzip", "GZip", "x-gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1"),
            *("gzip;q=1", "gzip;q=1.000", "gzip ; q=0.001", "deflate,gzip", "gzip;Q=0.5", ",gzip,"),
            *("identity;q=0, gzip", "gzip;q=0.5, identity;q=0.5", "*;q=0, gzip"),
        ):
            with self.subTest(header):
                self.assertTrue(accepts_gzip(header))

    def test_header_that_does_not_accept_gzip(self):
        for header in (
            *("", "identity", "br", "gzip;q=0", "gzip;q=0.000", "GZIP; q=0", "gzip;q=0, *"),
            *("notgzip", "gzip-9", "x-gzip;q=0", "gzip;q=nonsense", "gzip;q=-1", "gzip;q=2"),
            *("identity;q=1, gzip;q=0.5", "g zip", '"gzip"', "deflate;gzip", "gzip;q", "gzip;q="),
            "gzip;q=1;" * 500,
            "gzip" + " " * 8_000 + "x",
        ):
            with self.subTest(header[:40]):
                self.assertFalse(accepts_gzip(header))


class CompressionTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.data_source.apply_changes({"metadata": large_metadata(1)}, user=self.editor)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.call(method, path, body, self.editor, headers=headers)

    def assert_same(self, compressed: Any, plain: Any) -> None:
        """Check that two answers differ in nothing but the compression."""
        self.assertEqual(compressed["Content-Encoding"], "gzip")
        self.assertNotIn("Content-Encoding", plain)
        self.assertEqual(gzip.decompress(compressed.content), plain.content)
        self.assertEqual(compressed["Content-Length"], str(len(compressed.content)))
        self.assertLess(len(compressed.content), len(plain.content))
        self.assertEqual(compressed.status_code, plain.status_code)
        self.assertEqual(compressed.get("ETag"), plain.get("ETag"))
        for response in (compressed, plain):
            self.assertIn("accept-encoding", response["Vary"].lower())

    def test_large_answer_is_compressed_and_keeps_its_etag(self):
        plain, compressed = self.ask("get", self.path), self.ask("get", self.path, **GZIP)
        self.assert_same(compressed, plain)
        self.assertRegex(compressed["ETag"], r'^"\d+"\Z')

    def test_etag_of_a_compressed_answer_works_with_and_without_compression(self):
        for read, written in ((GZIP, {}), ({}, GZIP), (GZIP, GZIP)):
            with self.subTest(read=read, written=written):
                etag = self.ask("get", self.path, **read)["ETag"]
                body = {
                    "port": 5000 + self.data_source.version,
                    "description": str((read, written)),
                }
                changed = self.ask("patch", self.path, body, **written, **{"If-Match": etag})
                self.assertEqual(changed.status_code, 200)
                self.assertEqual("Content-Encoding" in changed, written == GZIP)
                stale = self.ask("patch", self.path, {"port": 1}, **written, **{"If-Match": etag})
                self.assertEqual(stale.status_code, 412)
                self.assertEqual(stale["ETag"], changed["ETag"])

    def test_small_answers_are_not_compressed(self):
        small = DataSource.objects.create(workspace=self.workspace, name="Small", type="csv")
        for method, path, body in (
            ("get", f"/data-sources/{small.pk}", None),
            ("patch", f"/data-sources/{small.pk}", {"description": "Small"}),
            ("get", "/me", None),
            ("get", "/nothing", None),
        ):
            with self.subTest(method, path=path):
                response = self.ask(method, path, body, **GZIP)
                self.assertNotIn("Content-Encoding", response)
                self.assertLess(len(response.content), compression.BYTES_MIN)

    def test_answers_to_clients_that_refuse_gzip_are_not_compressed(self):
        for header in ("gzip;q=0", "identity", "br", "", "identity, gzip;q=0"):
            with self.subTest(header):
                response = self.ask("get", self.path, **{"Accept-Encoding": header})
                self.assertNotIn("Content-Encoding", response)
                self.assertEqual(response.json()["data"]["id"], self.data_source.pk)
                self.assertIn("accept-encoding", response["Vary"].lower())

    def test_head_has_the_headers_of_get(self):
        for headers in (GZIP, {}):
            got, head = (self.ask(method, self.path, **headers) for method in ("get", "head"))
            self.assertEqual(head.content, b"")
            for name in ("Content-Length", "Content-Encoding", "ETag", "Vary"):
                self.assertEqual(head.get(name), got.get(name))

    def test_answers_without_a_body_are_not_compressed(self):
        etag = self.ask("get", self.path, **GZIP)["ETag"]
        with mock.patch.object(compression, "BYTES_MIN", 0):
            known = self.ask("get", self.path, **GZIP, **{"If-None-Match": etag})
            gone = self.call("delete", self.path, user=self.admin, headers=GZIP)
        self.assertEqual((known.status_code, gone.status_code), (304, 204))
        for response in (known, gone):
            self.assertEqual(response.content, b"")
            self.assertNotIn("Content-Encoding", response)

    def test_replayed_answer_is_stored_in_clear_and_compressed_as_each_client_asks(self):
        key, body = {"Idempotency-Key": "a"}, {"port": 5433}
        first = self.ask("patch", self.path, body, **key, **GZIP)
        replayed = self.ask("patch", self.path, body, **key, **GZIP)
        plain = self.ask("patch", self.path, body, **key)
        for response in (first, replayed):
            self.assert_same(response, plain)
        self.assertEqual(replayed["Idempotency-Replayed"], "true")
        self.assertEqual(plain.json()["data"]["port"], 5433)

    def test_large_failure_is_compressed(self):
        body = {"updates": [{"id": 10**9 + number} for number in range(100)]}
        plain, compressed = (
            self.ask("patch", "/data-sources", body, **{"X-Request-ID": "same"}, **headers)
            for headers in ({}, GZIP)
        )
        self.assertEqual(plain.status_code, 409)
        self.assert_same(compressed, plain)

    def test_tokens_are_never_compressed(self):
        credentials = {"username": "edith", "password": PASSWORD}
        with mock.patch.object(compression, "BYTES_MIN", 0):
            self.assertIn("Content-Encoding", self.ask("get", "/me", **GZIP))
            issued = self.call("post", "/auth/token", credentials, headers=GZIP)
            body = {"refresh_token": issued.json()["data"]["refresh_token"]}
            refreshed = self.call("post", "/auth/token/refresh", body, headers=GZIP)
        for response in (issued, refreshed):
            self.assertEqual(response.status_code, 200)
            self.assertNotIn("Content-Encoding", response)

    def test_pages_with_a_session_are_never_compressed(self):
        staff = admin_client(self.admin)
        with mock.patch.object(compression, "BYTES_MIN", 0):
            response = staff.get("/admin/datasources/datasource/", headers=GZIP)
        self.assertEqual(response.status_code, 200)
        self.assertNotIn("Content-Encoding", response)

    def test_etag_of_an_answer_that_caches_may_store_becomes_weak(self):
        for cache, etag in (("no-cache", 'W/"a"'), ("no-store", '"a"'), (None, '"a"')):
            with self.subTest(cache):
                response = HttpResponse(b"a" * compression.BYTES_MIN, headers={"ETag": '"a"'})
                if cache:
                    response["Cache-Control"] = cache
                request = RequestFactory().get("/api/v1/anything", headers=GZIP)
                middleware = compression.CompressionMiddleware(lambda _: HttpResponse())
                answered = middleware.process_response(request, response)
                self.assertEqual(answered["Content-Encoding"], "gzip")
                self.assertEqual(answered["ETag"], etag)

    def test_openapi_json_has_one_etag_for_each_encoding_also_in_a_304(self):
        for headers, prefix in (({}, '"'), (GZIP, 'W/"')):
            with self.subTest(headers):
                etag = self.ask("get", "/openapi.json", **headers)["ETag"]
                self.assertEqual(etag[: len(prefix)], prefix)
                for sent in (etag, etag.removeprefix("W/")):
                    known = self.ask("get", "/openapi.json", **headers, **{"If-None-Match": sent})
                    self.assertEqual((known.status_code, known["ETag"]), (304, etag))
                    self.assertEqual(known["Vary"].lower().count("accept-encoding"), 1)

    def test_openapi_json_is_compressed_to_a_fraction(self):
        plain, compressed = (self.ask("get", "/openapi.json", **h) for h in ({}, GZIP))
        self.assertEqual(gzip.decompress(compressed.content), plain.content)
        self.assertLess(len(compressed.content), len(plain.content) / 6)
        self.assertIn("accept-encoding", plain["Vary"].lower())
