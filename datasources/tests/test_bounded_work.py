"""The work and memory for a value do not grow faster than the value."""

import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase

from datasources import serializers
from datasources.models import DataSource
from datasources.models.connection_strings import grammar, validate_connection_string
from datasources.models.validators import (
    is_too_deep,
    names_secret,
    validate_host,
    validate_metadata,
)
from datasources.schemas.reading.common_types import CommonType, common_type
from datasources.schemas.reading.readers.clickhouse import ClickHouseReader
from datasources.serializers import DataSourceUpdateSerializer
from datasources.testing import DataSourceTestCase
from rivergen.hosts import is_host

LEAVES = [0] * 20_000


def nested(depth: int, inner: Any) -> dict[str, Any]:
    for _ in range(depth):
        inner = {"a": inner}
    return inner


def peak_memory(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class BoundedWorkTests(SimpleTestCase):
    def test_memory_for_the_depth_of_metadata_does_not_grow_with_its_values(self):
        for inner in (LEAVES, {str(number): 0 for number in LEAVES}):
            metadata = nested(18, inner)
            self.assertLess(peak_memory(partial(is_too_deep, metadata)), 10_000)

    def test_memory_for_checking_metadata_is_that_of_its_text(self):
        metadata = nested(18, LEAVES)
        size = len(json.dumps(metadata))
        self.assertLess(peak_memory(partial(validate_metadata, metadata)), 40 * size)

    def test_long_host_names_are_refused_unread(self):
        for host in ("ä" * 254, "ä." * 200, "a." * 100_000, "\u0315\u0300" * 1_000_000):
            with self.subTest(host[:4]), mock.patch("rivergen.hosts.idna.uts46_remap") as convert:
                self.assertFalse(is_host(host))
                convert.assert_not_called()

    def test_long_connection_strings_are_refused_unread(self):
        for text in (f"postgresql://a/b?{'a=b&' * 200_000}", f"postgresql://{'ä' * 200_000}/b"):
            with (
                self.subTest(text[:20]),
                mock.patch("datasources.models.connection_strings.parse") as split,
                self.assertRaisesMessage(ValidationError, "at most 4,096 characters"),
            ):
                validate_connection_string(text)
            split.assert_not_called()

    def test_many_options_and_many_hosts_are_refused_unread(self):
        hosts, options = ",".join(["db"] * 51), "&".join(f"a{number}=b" for number in range(51))
        for text, read in (
            (f"mongodb://{hosts}/x", "read_host"),
            (f"postgresql://db/x?{options}", "Option"),
        ):
            with (
                self.subTest(text[:20]),
                mock.patch.object(grammar, read) as unread,
                self.assertRaisesMessage(ValidationError, "at most 50"),
            ):
                validate_connection_string(text)
            unread.assert_not_called()

    def test_types_of_a_server_are_read_in_one_pass(self):
        # A pattern that backtracks takes hours for these.
        for source_type, expected in (
            (" " * 1_000_000, CommonType.OTHER),
            ("(" * 1_000_000, CommonType.OTHER),
            (f"varchar{' ' * 1_000_000}(10)", CommonType.STRING),
            (f"varchar{'(' * 1_000_000})", CommonType.STRING),
            ("timestamp (6) with time zone", CommonType.TIMESTAMP_TZ),
            ("array<struct<a:int>>", CommonType.ARRAY),
            ("a) (b", CommonType.OTHER),
        ):
            with self.subTest(source_type[:20].strip()):
                self.assertEqual(common_type(source_type, {}), expected)

    def test_wrappers_of_a_clickhouse_type_are_opened_a_few_times(self):
        reader = ClickHouseReader(mock.Mock(), mock.Mock())
        wrapped = "SimpleAggregateFunction(any, LowCardinality(Nullable(String)))"
        self.assertEqual(reader.common_type(wrapped), CommonType.STRING)
        bomb = f"{'Nullable(' * 100_000}String{')' * 100_000}"
        self.assertEqual(reader.common_type(bomb), CommonType.OTHER)


class BoundedUpdateTests(DataSourceTestCase):
    def errors(self, body: dict[str, Any]) -> Any:
        serializer = DataSourceUpdateSerializer(self.data_source, data=body, partial=True)
        self.assertFalse(serializer.is_valid())
        return serializer.errors

    def test_words_of_long_unknown_names_are_not_split(self):
        with mock.patch.object(serializers, "names_secret", side_effect=names_secret) as split:
            errors = self.errors({"aA" * 500_000: 1, "db_password": 1})
        self.assertEqual(split.call_count, 1)
        self.assertEqual(errors["aA" * 32], ["Unknown field."])
        self.assertIn("credentials", str(errors["db_password"]))

    def test_read_only_value_that_is_nested_too_deeply_is_another_value(self):
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        errors = self.errors({"id": value, "last_test": {"a": value}})
        sentence = ["This field is read-only and has another value."]
        self.assertEqual(errors, {"id": sentence, "last_test": sentence})

    def test_host_that_is_too_long_has_one_error(self):
        self.assertEqual(len(self.errors({"host": "ä" * 100_000})["host"]), 1)
        with self.assertRaises(ValidationError):
            validate_host("ä" * 100_000)
        with self.assertRaises(ValidationError):
            DataSource(host="ä" * 100_000).clean_fields()
