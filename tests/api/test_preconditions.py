"""Tests over every route: a precondition is honored or refused, never ignored (RFC 9110)."""

from typing import Any

from django.test import SimpleTestCase

from rivergen.http.preconditions import read_entity_tags
from tests.api.testing.route_table import OF_ANY_USER, PUBLIC, ROUTES, RouteTestCase

MALFORMED = (
    *("", " ", ",", ", ,", "3", '"3', '3"', "'3'", '""3""', '"3" "4"', '"3";"4"', "abc"),
    *('w/"3"', "W/3", 'W"3"', 'W /"3"', '"3 "x', '"a b"', '*, "3"', '"3", *', "**", "*,"),
    *('"3", 4', '"3"\t4'),
)
WELL_FORMED = (
    *(("*", ["*"]), (" *\t", ["*"]), ('"3"', ['"3"']), ('W/"3"', ['W/"3"']), ('""', ['""'])),
    *(('"3","4"', ['"3"', '"4"']), (' "3" ,\t"4" ', ['"3"', '"4"']), ('"a,b"', ['"a,b"'])),
    *((',"3",,', ['"3"']), ('"3-gzip"', ['"3-gzip"']), ('"\xe9"', ['"\xe9"']), ('"*"', ['"*"'])),
)
UNCONDITIONAL = [key for key in ROUTES if not ROUTES[key].knows_versions]
CONDITIONAL = [key for key in ROUTES if ROUTES[key].knows_versions]


class EntityTagTests(SimpleTestCase):
    def test_malformed_if_match_has_no_entity_tags(self):
        for text in MALFORMED:
            with self.subTest(text=text):
                self.assertEqual(read_entity_tags(text), [])

    def test_well_formed_if_match_is_read_as_rfc_9110_says(self):
        for text, tags in WELL_FORMED:
            with self.subTest(text=text):
                self.assertEqual(read_entity_tags(text), tags)

    def test_long_headers_are_read_in_linear_time(self):
        for part in (" ", "\t,", '"', '"1"', '"1",', "W/", 'W/"', '" ', "*,"):
            with self.subTest(part=part):
                # Seconds if each character were visited again for each other one.
                read_entity_tags(part * 200_000 + "x")


class RoutePreconditionTests(RouteTestCase):
    def send(self, user: Any, method: str, path: str, **headers: str) -> tuple[Any, bool]:
        route = ROUTES[method, path]
        target = path.format(**self.ids)
        return self.attempt(
            user,
            method,
            target,
            route.body_for(self.ids),
            route.prepare,
            headers=route.headers() | headers,
        )

    def test_routes_that_know_no_versions_refuse_if_match(self):
        for method, path in UNCONDITIONAL:
            for if_match in ('"1"', "*", "1"):
                with self.subTest(method=method, path=path, if_match=if_match):
                    response, has_changed = self.send(
                        self.owner, method, path, **{"If-Match": if_match}
                    )
                    error = self.assert_error(response, 400, "BAD_REQUEST", "If-Match")
                    is_many = (method, path) == ("patch", "/data-sources")
                    words = "in each update" if is_many else "knows no versions"
                    self.assertIn(words, str(error["details"]))
                    self.assertFalse(has_changed)

    def test_public_routes_and_the_caller_refuse_if_match(self):
        for method, path in PUBLIC | OF_ANY_USER:
            with self.subTest(method=method, path=path):
                body = {"username": "olivia", "password": "x"} if "token" in path else None
                response = self.call(method, path, body, self.owner, headers={"If-Match": '"1"'})
                self.assert_error(response, 400, "BAD_REQUEST", "If-Match")

    def test_routes_that_know_versions_honor_if_match(self):
        for method, path in CONDITIONAL:
            with self.subTest(method=method, path=path):
                current = f'"{self.stored()["version"]}"'
                response, _ = self.send(self.owner, method, path, **{"If-Match": current})
                self.assertEqual(response.status_code, ROUTES[method, path].success)
                stale, has_changed = self.send(self.owner, method, path, **{"If-Match": '"99"'})
                error = self.assert_error(stale, 412, "PRECONDITION_FAILED")
                self.assertEqual(stale["ETag"], current)
                self.assertEqual(error["conflict"]["version"], self.stored()["version"])
                self.assertFalse(has_changed)

    def test_head_honors_and_refuses_as_get_does(self):
        for path, status in ((self.path, 412), ("/data-sources", 400), ("/me", 400)):
            response = self.call("head", path, user=self.owner, headers={"If-Match": '"99"'})
            self.assertEqual((response.status_code, response.content), (status, b""))

    def test_malformed_if_match_is_400_that_says_what_to_send(self):
        for method, path in CONDITIONAL:
            for if_match in MALFORMED:
                with self.subTest(method=method, path=path, if_match=if_match):
                    response = self.call(
                        method,
                        path.format(**self.ids),
                        ROUTES[method, path].body_for(self.ids),
                        self.owner,
                        headers={"If-Match": if_match},
                    )
                    error = self.assert_error(response, 400, "BAD_REQUEST", "If-Match")
                    self.assertIn('"3"', error["details"]["If-Match"][0])

    def test_if_match_longer_than_8192_characters_is_400(self):
        tags = ", ".join(f'"{number}"' for number in range(1, 3_000))
        response = self.call("get", self.path, user=self.owner, headers={"If-Match": tags})
        error = self.assert_error(response, 400, "BAD_REQUEST", "If-Match")
        self.assertIn("8,192", str(error["details"]))

    def test_headers_that_a_change_cannot_honor_are_400(self):
        date = "Sat, 29 Nov 2025 19:43:31 GMT"
        for header, value in (("If-Unmodified-Since", date), ("If-None-Match", "*")):
            for method, path in ROUTES:
                if method == "get" or (header, ROUTES[method, path].names_version) == (
                    "If-Unmodified-Since",
                    True,
                ):
                    continue
                with self.subTest(method=method, path=path, header=header):
                    response, has_changed = self.send(self.owner, method, path, **{header: value})
                    self.assert_error(response, 400, "BAD_REQUEST", header)
                    self.assertFalse(has_changed)
            with self.subTest(header=header):
                read = self.call("get", "/data-sources", user=self.owner, headers={header: value})
                self.assertEqual(read.status_code, 200)

    def test_if_unmodified_since_is_ignored_beside_if_match(self):
        # RFC 9110, section 13.1.4.
        headers = {
            "If-Match": f'"{self.stored()["version"]}"',
            "If-Unmodified-Since": "Sat, 29 Nov 2025 19:43:31 GMT",
        }
        response = self.call("patch", self.path, {"port": 5433}, self.owner, headers=headers)
        self.assertEqual(response.status_code, 200)

    def test_401_403_404_and_415_come_before_a_refused_precondition(self):
        for method, path in ROUTES:
            route = ROUTES[method, path]
            target = path.format(**self.ids)
            body, headers = route.body_for(self.ids), {"If-Match": "1"}
            with self.subTest(method=method, path=path):
                anonymous = self.call(method, target, body, headers=headers)
                self.assert_error(anonymous, 401, "UNAUTHORIZED")
                loner = self.call(method, target, body, self.loner, headers=headers)
                self.assert_error(loner, 403, "FORBIDDEN")
                if route.stranger == 404:
                    found = self.call(method, target, body, self.stranger, headers=headers)
                    self.assert_error(found, 404, "NOT_FOUND")
                if route.least_role != "viewer" and route.too_low == 403:
                    viewer = self.call(method, target, body, self.viewer, headers=headers)
                    self.assert_error(viewer, 403, "FORBIDDEN")
                if method == "get":
                    continue
                text = self.call(
                    method, target, b"x", self.owner, content_type="text/plain", headers=headers
                )
                self.assert_error(text, 415, "UNSUPPORTED_MEDIA_TYPE")
