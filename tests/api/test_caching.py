"""What caches may keep: `openapi.json`, if they ask each time; nothing else of the API."""

import hashlib
from collections import Counter
from typing import Any

from django.db import transaction

from datasources.models import DataSource
from organizations.testing import PASSWORD
from tests.api.testing.route_table import (
    OF_ANY_USER,
    PUBLIC,
    ROUTES,
    RouteTestCase,
    read_schema,
)

OPENAPI = "/openapi.json"


class CachingTests(RouteTestCase):
    def openapi(self, if_none_match: str | None = None, method: str = "get", **headers: str) -> Any:
        if if_none_match is not None:
            headers["If-None-Match"] = if_none_match
        return self.call(method, OPENAPI, headers=headers)

    def assert_not_stored(self, response: Any) -> None:
        self.assertEqual(response["Cache-Control"], "no-store")

    def test_no_answer_of_a_route_is_stored(self):
        for (method, path), route in ROUTES.items():
            with self.subTest(method=method, path=path):
                for user in (self.owner, self.viewer, self.stranger, self.loner, None):
                    response, _ = self.try_as(user, method, path)
                    self.assert_not_stored(response)
                target = path.format(**self.ids)
                body = None if method == "get" else b"{"
                for headers in ({}, {"If-Match": '"99"', "If-None-Match": "*"}):
                    response, _ = self.attempt(self.owner, method, target, body, headers=headers)
                    self.assert_not_stored(response)
                head, _ = self.attempt(self.owner, "head", target, None, route.prepare)
                self.assert_not_stored(head)
                wrong = self.call("options", target, user=self.owner)
                self.assertGreaterEqual(wrong.status_code, 200)
                self.assert_not_stored(wrong)

    def test_no_answer_to_a_request_without_a_table_entry_is_stored(self):
        for method, path in (PUBLIC | OF_ANY_USER) - {("get", OPENAPI)}:
            with self.subTest(method=method, path=path):
                self.assert_not_stored(self.call(method, path, {}))
        self.assert_not_stored(self.call("get", "/me", user=self.viewer))
        body = {"username": self.viewer.username, "password": PASSWORD}
        self.assert_not_stored(self.call("post", "/auth/token", body))
        for path in ("/nothing", "/data-sources/", "/data-sources/abc", f"{OPENAPI}/", "", "/"):
            for method in ("get", "head", "post"):
                with self.subTest(method=method, path=path):
                    response = self.call(method, path, user=self.viewer)
                    self.assertGreaterEqual(response.status_code, 400)
                    self.assert_not_stored(response)

    def test_conditional_answers_of_data_sources_and_schemas_are_not_stored(self):
        for path in (self.path, f"{self.path}/schema"):
            with self.subTest(path=path):
                prepare = ROUTES["get", "/data-sources/{data_source_id}/schema"].prepare
                version: Any = {"If-None-Match": "*"}
                response, _ = self.attempt(self.viewer, "get", path, None, prepare, headers=version)
                self.assertIn(response.status_code, (200, 304))
                self.assert_not_stored(response)

    def test_known_tag_is_304_after_a_request_only_if_nothing_reads_otherwise(self):
        statuses = Counter[int]()
        for (method, path), route in ROUTES.items():
            if method == "get":
                continue
            for shown in (self.path, f"{self.path}/schema"):
                with self.subTest(method=method, path=path, shown=shown), transaction.atomic():
                    read_schema(self.data_source)
                    route.prepare(DataSource.objects.get(pk=self.data_source.pk))
                    before = self.call("get", shown, user=self.owner)
                    target, body = path.format(**self.ids), route.body_for(self.ids)
                    self.call(method, target, body, self.owner, headers=route.headers())
                    known = {"If-None-Match": before["ETag"]}
                    again = self.call("get", shown, user=self.owner, headers=known)
                    now = self.call("get", shown, user=self.owner)
                    if again.status_code == 304:
                        self.assertEqual((now.status_code, now.json()), (200, before.json()))
                    statuses[again.status_code] += 1
                    transaction.set_rollback(True)
        self.assertGreater(statuses[200], 5, statuses)

    def test_openapi_is_checked_at_each_use(self):
        response = self.openapi()
        self.assertEqual((response.status_code, response["Cache-Control"]), (200, "no-cache"))
        self.assertEqual(response["Content-Type"], "application/json")
        self.assertEqual(response.json()["openapi"][:2], "3.")
        etag = response["ETag"]
        self.assertIn(hashlib.sha256(response.content).hexdigest()[:32], etag)
        self.assertEqual(etag, self.openapi()["ETag"])
        for sent in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            for method in ("get", "head"):
                with self.subTest(sent=sent, method=method):
                    known = self.openapi(sent, method)
                    self.assertEqual((known.status_code, known.content), (304, b""))
                    for name in ("ETag", "Cache-Control", "Vary"):
                        self.assertEqual(known[name], response[name])
                    # It would have to be that of the 200 (RFC 9110, section 8.6).
                    self.assertNotIn("Content-Length", known)
        for sent in ('"x"', "", etag.strip('"'), f'{etag[:-1]}-gzip"'):
            with self.subTest(sent=sent):
                self.assertEqual(self.openapi(sent).status_code, 200)
        self.assertEqual(self.openapi(method="head")["ETag"], etag)

    def test_refusals_of_openapi_are_not_stored(self):
        for response, status in (
            (self.openapi(Accept="text/html"), 406),
            (self.openapi(method="post"), 405),
            (self.openapi(method="options"), 405),
            (self.call("get", f"{OPENAPI}?allow_disjoint=true"), 400),
        ):
            with self.subTest(status=status):
                self.assertEqual(response.status_code, status)
                self.assert_not_stored(response)
