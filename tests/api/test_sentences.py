"""Refusals name what is wrong with a request, and what to send instead."""

import gzip
from typing import Any

from django.test import Client

from datasources.testing import DataSourceTestCase
from organizations.testing import bearer

# Bodies that are refused, and words that the sentence must have.
BODIES: dict[bytes, tuple[str, ...]] = {
    b'{"port": 1e400}': ("1e400", "too large"),
    b'{"port": -1E+999}': ("-1E+999", "too large"),
    b'{"metadata": {"a": [2e308]}}': ("2e308", "too large"),
    b'{"port": 1' + b"0" * 400 + b".5}": ("too large",),
    b'{"port": NaN}': ("NaN", "not a JSON number", "null"),
    b'{"metadata": {"a": [Infinity]}}': ("Infinity", "not a JSON number"),
    b'{"port": -Infinity}': ("-Infinity", "not a JSON number"),
    b'{"port": ' + b"7" * 5_000 + b"}": ("more than 4,300 digits",),
    b'{"metadata": {"a": [%s]}}' % b",".join([b"1e300"] * 4_000): ("digits", "written out"),
    rb'{"name": "\ud800"}': (r"lone surrogate \ud800",),
    rb'{"metadata": {"\uDFFFx": 1}}': (r"lone surrogate \udfff",),
    b"\xef\xbb\xbf{}": ("byte order mark",),
    '{"port": 1}'.encode("utf-16"): ("not valid UTF-8", "Send it in UTF-8"),
    '{"port": 1}'.encode("utf-16-le"): ("null characters", "UTF-8"),
    '{"port": 1}'.encode("utf-16-be"): ("null characters", "UTF-8"),
    '{"name": "é"}'.encode("latin-1"): ("not valid UTF-8", "byte 11"),
    b'[{"port": 1}]': ("a JSON object, not an array",),
    b'"x"': ("a JSON object, not a string",),
    b"null": ("a JSON object, not null",),
    b"true": ("a JSON object, not true or false",),
    b"1.5": ("a JSON object, not a number",),
    b'{"port": 1, "port": 2}': ("'port' twice",),
    b'{"description": "' + b"[" * 100_001 + b'"}': ("100,000 brackets",),
    b'{"metadata": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001: ("nested too deeply",),
    b'{"port": 1,}': ("not valid JSON", "column 12"),
    b"{'port': 1}": ("not valid JSON", "double quotes"),
    b"port=1": ("not valid JSON",),
    b"": ("empty", "Send a JSON object"),
    b" \r\n\t": ("empty", "Send a JSON object"),
}
UNTRUE: dict[str, tuple[bytes, ...]] = {
    "not valid JSON": (b"1e400", b"-1E", b"2e308", b"NaN", b"Infinity", b"777", b"[["),
    "UTF-8": (rb"\ud800", rb"\uDFFF"),
}


class SentenceTests(DataSourceTestCase):
    def send(self, body: bytes, media_type: str = "application/json", **headers: str) -> Any:
        return self.call(
            "patch", self.path, body, self.editor, content_type=media_type, headers=headers
        )

    def assert_says(self, response: Any, status: int, *words: str) -> str:
        self.assertEqual(response.status_code, status, response.content)
        message: str = response.json()["error"]["message"]
        for word in words:
            self.assertIn(word, message)
        self.assertLess(len(message), 250)
        return message

    def test_body_that_is_refused_is_named(self):
        for body, words in BODIES.items():
            with self.subTest(body=body[:40]):
                message = self.assert_says(self.send(body), 400, *words)
                for sentence, bodies in UNTRUE.items():
                    if any(part in body for part in bodies):
                        self.assertNotIn(sentence, message)

    def test_long_numbers_are_cut(self):
        message = self.assert_says(
            self.send(b'{"port": 1e' + b"9" * 4_000 + b"}"), 400, "too large"
        )
        self.assertIn("1e999", message)

    def test_media_type_that_is_refused_is_named_with_what_to_send(self):
        for media_type in ("text/json", "application/x-www-form-urlencoded", "application/*", "x"):
            with self.subTest(media_type=media_type):
                response = self.send(b"{}", media_type)
                words = (media_type, "application/json", "application/merge-patch+json")
                self.assert_says(response, 415, *words)
        response = self.call(
            "post", "/data-sources", b"{}", self.editor, content_type="application/merge-patch+json"
        )
        message = self.assert_says(
            response, 415, "merge-patch", "Send Content-Type: application/json"
        )
        self.assertNotIn("or", message.partition("Send")[2].split())
        response = self.call(
            "post", "/data-sources/apply", b"{}", self.editor, content_type="text/yaml"
        )
        self.assert_says(response, 415, "text/yaml", "application/yaml")

    def test_content_coding_that_is_refused_is_named(self):
        compressed = gzip.compress(b'{"port": 1}')
        for coding in ("gzip", "deflate, gzip", "br", "zstd"):
            with self.subTest(coding=coding):
                response = self.send(compressed, **{"Content-Encoding": coding})
                self.assert_says(response, 415, coding, "uncompressed")
        for number, coding in enumerate(("identity", "Identity", " identity ", "")):
            with self.subTest(coding=coding):
                body = b'{"port": %d}' % (number + 1)
                response = self.send(body, **{"Content-Encoding": coding})
                self.assertEqual(response.status_code, 200)

    def test_accept_that_is_refused_says_what_to_accept(self):
        for accept in ("text/html", "application/xml, text/csv;q=0.5", "nonsense"):
            with self.subTest(accept=accept):
                response = self.call("get", self.path, user=self.viewer, headers={"Accept": accept})
                self.assert_says(response, 406, "Accept: application/json")

    def test_path_with_a_trailing_slash_is_answered_with_the_path_without(self):
        for path in ("/data-sources", self.path, f"{self.path}/history", "/me", "/openapi.json"):
            for user in (self.viewer, None):
                for slashes in ("/", "//"):
                    with self.subTest(path=path, slashes=slashes):
                        response = self.call("get", f"{path}{slashes}", user=user)
                        self.assert_says(response, 404, f"Did you mean /api/v1{path}?")
        for path in ("/nothing/", "/nothing", "/", "", "/data-sources/1/nothing/", "/%00/", "/é/"):
            with self.subTest(path=path):
                message = self.assert_says(self.call("get", path, user=self.viewer), 404)
                self.assertNotIn("Did you mean", message)

    def test_missing_row_is_named_the_same_whatever_the_id(self):
        other = f"/organizations/{self.globex.pk}"
        for path in ("/data-sources/abc", "/data-sources/0", f"/data-sources/{'9' * 30}", other,
                     "/organizations/abc", "/connection-tests/abc"):  # fmt: skip
            with self.subTest(path=path):
                response = self.call("get", path, user=self.viewer)
                message = self.assert_says(response, 404)
                self.assertEqual(message, "There is no such resource in your organizations.")

    def assert_field(self, response: Any, field: str, *words: str) -> None:
        self.assertEqual(response.status_code, 400)
        [sentence] = response.json()["error"]["details"][field]
        for word in words:
            self.assertIn(word, sentence)

    def test_parameter_that_is_refused_says_what_to_send(self):
        for query, *words in (
            ("type=x", "Must be one of: ", "postgresql", "csv"),
            ("status=ok", "Must be one of: active, inactive, error."),
            ("workspace_id=-1", "Must be an id", "digits"),
            ("id=9999999999999999999", "Must be an id", "18 digits"),
            ("updated_after=2024-12-01T11:00:00+01:00", "2024-12-01T11:00:00Z", "%2B"),
            ("cursor=x", "next_cursor", "ordering"),
        ):
            with self.subTest(query=query):
                response = self.call("get", f"/data-sources?{query}", user=self.viewer)
                self.assert_field(response, query.partition("=")[0], *words)

    def test_cursor_of_another_order_is_named(self):
        self.call("post", "/data-sources", {"name": "Lake", "type": "csv"}, self.editor)
        page = self.call("get", "/data-sources?page_size=1", user=self.viewer).json()["pagination"]
        path = f"/data-sources?ordering=-created_at&cursor={page['next_cursor']}"
        self.assert_field(self.call("get", path, user=self.viewer), "cursor", "same ordering")

    def test_number_with_a_fraction_or_exponent_is_named(self):
        for number in (b"5433.0", b"1e3", b"5433.5", b"-0.0"):
            with self.subTest(number=number):
                response = self.send(b'{"port": %s}' % number)
                self.assert_field(response, "port", "without a fraction or an exponent")
        for value in (b'"5433"', b"true", b"[]"):
            with self.subTest(value=value):
                response = self.send(b'{"port": %s}' % value)
                self.assert_field(response, "port", "Must be a whole number.")

    def test_method_that_is_refused_is_named_with_those_that_are_allowed(self):
        for method, path, allowed in (
            ("put", self.path, "GET, PATCH, DELETE, HEAD"),
            ("delete", "/me", "GET, HEAD"),
            ("get", "/auth/token", "POST"),
        ):
            with self.subTest(method=method, path=path):
                response = self.call(method, path, user=self.viewer)
                message = self.assert_says(response, 405, method.upper())
                for name in allowed.split(", "):
                    self.assertIn(name, message)
                self.assertIn(response["Allow"], message)

    def test_unknown_host_is_named(self):
        client = Client(headers={"Authorization": bearer(self.viewer)})
        response = client.get("/api/v1/me", headers={"Host": "evil.example.com"})
        self.assert_says(response, 400, "Host")
        self.assertNotIn("evil", response.content.decode())

    def test_yaml_that_is_nested_too_deeply_is_not_called_invalid(self):
        for depth in (900, 20_000):
            with self.subTest(depth=depth):
                response = self.call(
                    "post",
                    "/data-sources/apply",
                    b"[" * depth + b"]" * depth,
                    self.editor,
                    content_type="application/yaml",
                )
                message = self.assert_says(response, 400, " nest")
                self.assertNotIn("Not valid YAML.", message)
