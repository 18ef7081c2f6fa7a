"""Parsing of request bodies, tested with PATCH /api/v1/data-sources/{data_source_id}."""

import gzip
import json
from decimal import Decimal
from io import BytesIO
from typing import Any
from unittest import mock

from django.test import SimpleTestCase
from rest_framework.exceptions import ParseError
from rest_framework.test import APIClient

from datasources.models import DataSource
from organizations.testing import APITestCase, bearer
from rivergen.http import parsers
from rivergen.http.parsers import (
    DuplicateNameError,
    StrictJSONParser,
    object_of_unique_names,
)

MERGE_PATCH = "application/merge-patch+json"
MEBIBYTE = 1024 * 1024
OTHER_MEDIA_TYPES = (
    "",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/json",
    "application/xml",
    "application/json-patch+json",
    "application/jsonx",
    "application/x-json",
    "application/vnd.api+json",
    "json",
    "nonsense",
    "/",
)


class CountedName(str):
    """A name that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedName.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


class WorkTests(SimpleTestCase):
    def test_finding_a_duplicate_name_compares_each_name_a_few_times(self):
        for position in (0, 5_000, 9_999):
            pairs = [(CountedName(f"name{number}"), None) for number in range(10_000)]
            pairs.append((CountedName(f"name{position}"), None))
            CountedName.comparisons = 0
            with self.subTest(position=position):
                with self.assertRaisesMessage(DuplicateNameError, f"'name{position}' twice"):
                    object_of_unique_names(pairs)
                self.assertLess(CountedName.comparisons, 10 * len(pairs))

    def test_numbers_longer_than_a_body_are_refused_before_most_are_written_out(self):
        body = b'{"a": [%s]}' % b",".join([b"1e300"] * 170_000)
        with (
            mock.patch.object(parsers, "Decimal", side_effect=Decimal) as write_out,
            self.assertRaisesMessage(ParseError, "more than 1,048,576 digits together"),
        ):
            StrictJSONParser().parse(BytesIO(body))
        self.assertLess(write_out.call_count, 4_000)

    def test_body_of_very_many_arrays_or_objects_is_refused_unread(self):
        for unit in ("[],", "{},", "[" * 900 + "]" * 900 + ","):
            body = f'{{"a": [{unit * (1_000_000 // len(unit))}0]}}'.encode()
            with (
                self.subTest(unit=unit[:3]),
                mock.patch.object(parsers.json, "loads") as read,
                self.assertRaisesMessage(ParseError, "more than 100,000 brackets"),
            ):
                StrictJSONParser().parse(BytesIO(body))
            read.assert_not_called()

    def test_large_numbers_are_read_unless_there_are_very_many(self):
        body = b'{"a": [%s]}' % b",".join([b"1e300"] * 3_000)
        self.assertEqual(StrictJSONParser().parse(BytesIO(body)), {"a": [10**300] * 3_000})


class ParserTests(APITestCase):
    data_source: DataSource
    path: str
    row: Any

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.data_source = DataSource.objects.create(
            workspace=cls.workspace,
            name="Warehouse",
            type=DataSource.Type.POSTGRESQL,
            metadata={"team": "data", "region": "eu"},
        )
        cls.path = f"/data-sources/{cls.data_source.pk}"
        cls.row = cls.read_row()

    @classmethod
    def read_row(cls) -> Any:
        return DataSource.objects.values().get(pk=cls.data_source.pk)

    def send(self, body: Any, media_type: str = "application/json") -> Any:
        client = APIClient(raise_request_exception=False)
        headers = {"Authorization": bearer(self.editor)}
        path = f"/api/v1{self.path}"
        return client.generic("PATCH", path, body, media_type, headers=headers)

    def assert_refused(self, response: Any, status: int = 400, *fields: str) -> None:
        codes = {400: "BAD_REQUEST", 413: "PAYLOAD_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE"}
        self.assert_error(response, status, codes[status], *fields)
        self.assertEqual(self.read_row(), self.row)

    def test_malformed_json_is_400(self):
        for body in (
            b"{",
            b"}",
            b'{"name"}',
            b'{"name": }',
            b'{"name": "Lake",}',
            b'{"name": "Lake"',
            b'{"name": "Lake"} x',
            b'{"name": "Lake"}{"name": "Sea"}',
            b'{name: "Lake"}',
            b"{'name': 'Lake'}",
            b'{"name": "La\nke"}',
            b'{"name": "\\x41"}',
            b'{"name": "\\u00"}',
            b'{"port": 01}',
            b'{"port": +1}',
            b'{"port": .5}',
            b'{"port": 0x10}',
            b'{"name": undefined}',
            b'{"use_ssh_tunnel": True}',
            b'{"name": "Lake"} // comment',
            b"name=Lake",
            b"\0",
        ):
            with self.subTest(body=body):
                self.assert_refused(self.send(body))

    def test_empty_body_is_400(self):
        for body in (b"", b" ", b"\r\n\t "):
            with self.subTest(body=body):
                self.assert_refused(self.send(body))
                self.assert_refused(self.send(body, MERGE_PATCH))

    def test_json_that_is_not_an_object_is_400(self):
        for body in (b"[]", b'[{"name": "Lake"}]', b"null", b"true", b"7", b"1.5", b'"name"'):
            with self.subTest(body=body):
                self.assert_refused(self.send(body))
                self.assert_refused(self.send(body, MERGE_PATCH))

    def test_nan_infinity_and_too_large_numbers_are_400(self):
        for number in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E+999", "9" * 5000):
            for body in ('{"port": %s}', '{"metadata": {"a": [%s]}}', '{"unknown": %s}'):
                with self.subTest(number=number[:20], body=body):
                    self.assert_refused(self.send((body % number).encode()))

    def test_lone_surrogates_are_400(self):
        for text in (r"\ud800", r"\udfff", r"a\ud83d", r"\ude00\ud83d", r"\ud83d\u0041"):
            for body in (
                '{"name": "%s"}',
                '{"%s": 1}',
                '{"metadata": {"a": "%s"}}',
                '{"metadata": {"%s": 1}}',
                '{"metadata": {"a": [{"b": ["%s"]}]}}',
                '{"tags": ["%s"]}',
                '{"unknown": "%s"}',
            ):
                with self.subTest(text=text, body=body):
                    self.assert_refused(self.send((body % text).encode()))

    def test_encodings_other_than_utf_8_are_400(self):
        text = '{"name": "Ärger"}'
        for body in (
            b'{"name": "\xff"}',
            b'{"name": "\xc3"}',
            b'{"name": "\xc0\xaf"}',
            b'{"name": "\xed\xa0\x80"}',
            b'{"name": "\xf4\x90\x80\x80"}',
            b'{"metadata": {"\xff": 1}}',
            text.encode("latin-1"),
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            text.encode("utf-8-sig"),
        ):
            with self.subTest(body=body):
                self.assert_refused(self.send(body))

    def test_duplicate_names_in_one_object_are_400(self):
        for body in (
            b'{"name": "Lake", "name": "Sea"}',
            b'{"name": "Lake", "name": "Lake"}',
            b'{"name": "Lake", "\\u006eame": "Sea"}',
            b'{"port": 1, "name": "Lake", "port": 1}',
            b'{"metadata": {"a": 1, "a": 2}}',
            b'{"metadata": {"a": [{"b": 1, "b": 2}]}}',
            b'{"unknown": 1, "unknown": 2}',
        ):
            with self.subTest(body=body):
                self.assert_refused(self.send(body))

    def test_names_in_json_that_differ_by_case_are_kept(self):
        response = self.send(b'{"metadata": {"a": 1, "A": 2}}')
        self.assertEqual(response.json()["data"]["metadata"], {"a": 1, "A": 2})

    def test_deeply_nested_json_is_400(self):
        for depth in (900, 5_000, 100_000):
            for opening, closing in (("[", "]"), ('{"a":', "}")):
                nested = f"{opening * depth}1{closing * depth}"
                for body, media_type in (
                    (nested, "application/json"),
                    (f'{{"metadata": {nested}}}', "application/json"),
                    (f'{{"metadata": {{"a": {nested}}}}}', MERGE_PATCH),
                    (f'{{"name": {nested}}}', "application/json"),
                    (f'{{"id": {nested}}}', "application/json"),
                    (f'{{"unknown": {nested}, "name": "\\u0041"}}', "application/json"),
                    (opening * depth, "application/json"),
                ):
                    if len(body) > MEBIBYTE:
                        continue
                    with self.subTest(depth=depth, body=body[:30], media_type=media_type):
                        response = self.send(body.encode(), media_type)
                        self.assertEqual(response.status_code, 400)
                        self.assert_refused(response, 400, *response.json()["error"]["details"])

    def test_body_above_one_mebibyte_is_413(self):
        body = b'{"name": "Lake"}'
        for media_type in ("application/json", MERGE_PATCH):
            with self.subTest(media_type=media_type):
                self.assert_refused(self.send(body.ljust(MEBIBYTE + 1), media_type), 413)
        self.assertEqual(self.send(body.ljust(MEBIBYTE)).status_code, 200)

    def test_media_types_other_than_json_are_415(self):
        for media_type in OTHER_MEDIA_TYPES:
            for body in (b'{"name": "Lake"}', b"name=Lake", b"{"):
                with self.subTest(media_type=media_type, body=body):
                    self.assert_refused(self.send(body, media_type), 415)

    def test_wildcard_media_types_are_415(self):
        for media_type in ("*/*", "application/*"):
            with self.subTest(media_type=media_type):
                self.assert_refused(self.send(b'{"name": "Lake"}', media_type), 415)

    def test_compressed_bodies_are_415(self):
        body = gzip.compress(b'{"name": "Lake"}')
        for encoding in ("gzip", "deflate", "br", "gzip, identity"):
            with self.subTest(encoding=encoding):
                headers = {"Content-Encoding": encoding}
                response = self.call("patch", self.path, body, self.editor, headers=headers)
                self.assert_refused(response, 415)

    def test_json_media_type_may_have_parameters(self):
        for number, media_type in enumerate(
            (
                "application/json; charset=utf-8",
                "application/json;charset=UTF-8",
                'application/json; charset="utf-8"',
                "Application/JSON",
                " application/json ",
                "application/merge-patch+json; charset=utf-8",
            )
        ):
            with self.subTest(media_type=media_type):
                response = self.send(b'{"name": "Lake %d"}' % number, media_type)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(self.read_row()["name"], f"Lake {number}")

    def test_unicode_text_is_stored_unchanged(self):
        for text in ("Ärger", "湖", "😀", "a\u2028b", '"\\/', "\ufeff"):
            for is_ascii in (True, False):
                with self.subTest(text=text, is_ascii=is_ascii):
                    body = json.dumps({"metadata": {text: text}}, ensure_ascii=is_ascii)
                    response = self.send(body.encode())
                    self.assertEqual(response.json()["data"]["metadata"], {text: text})
                    self.assertEqual(self.read_row()["metadata"], {text: text})

    def test_numbers_in_json_are_stored_unchanged(self):
        numbers = [0, -1, 1.5, 1e-7, 2**53 + 1, 2**70, -(10**300), 0.1]
        response = self.send(json.dumps({"metadata": {"n": numbers}}).encode())
        self.assertEqual(response.json()["data"]["metadata"]["n"], numbers)
        self.assertEqual(self.read_row()["metadata"]["n"], numbers)

    def test_json_replaces_metadata_and_merge_patch_merges_it(self):
        body = b'{"metadata": {"region": null, "tier": 1}}'
        response = self.send(body, MERGE_PATCH)
        self.assertEqual(response.json()["data"]["metadata"], {"team": "data", "tier": 1})
        response = self.send(body)
        self.assertEqual(response.json()["data"]["metadata"], {"region": None, "tier": 1})

    def test_merge_patch_is_415_for_post(self):
        body = b'{"name": "Lake", "type": "postgresql"}'
        response = self.call("post", "/data-sources", body, self.editor, content_type=MERGE_PATCH)
        self.assert_refused(response, 415)
        self.assertEqual(DataSource.objects.count(), 1)
