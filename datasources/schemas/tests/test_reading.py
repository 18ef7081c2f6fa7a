"""Tests of the messages between sandbox and worker, and of the stored content."""

import base64
import json
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, ConnectionFailure
from datasources.schemas.reading import child, sandbox
from datasources.schemas.reading.child import read_and_send
from datasources.schemas.reading.sandbox import READING_SECONDS_MAX, Reading
from datasources.schemas.snapshots import content as content_module
from datasources.schemas.snapshots.content import Content, pack
from datasources.schemas.testing import column, table
from rivergen.egress.policy import EgressPolicy

CONFIGURATION = Configuration(type="postgresql", connection_timeout=7)
TABLES = [(table(f"t{number}", column("id")), number) for number in range(250)]


def messages_of(content: Content) -> list[dict[str, Any]]:
    """Return the messages by which the sandbox sends the content of a schema."""
    messages = []

    def send(**message: Any) -> None:
        messages.append(json.loads(json.dumps(message)))

    with mock.patch.object(child, "read", return_value=content):
        read_and_send(CONFIGURATION, mock.create_autospec(EgressPolicy), send)
    return messages


class ReadingTests(SimpleTestCase):
    def setUp(self) -> None:
        self.reading = Reading(CONFIGURATION)

    def take(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.reading.take(message)

    def test_schema_content_sent_in_several_messages_is_joined(self) -> None:
        packed = pack(TABLES)
        with mock.patch.object(child, "PIECE_BYTES", 100):
            messages = messages_of(packed)
        self.assertGreater(len(messages), len(packed.blocks) + 4)
        self.take(*messages)
        self.assertEqual((self.reading.code, self.reading.is_over), (Code.OK, True))
        self.assertEqual(self.reading.content, packed)

    def test_content_is_none_until_the_last_message(self) -> None:
        self.take(*messages_of(pack(TABLES))[:-1])
        self.assertIsNone(self.reading.content)
        self.reading.end(is_over=True)
        self.assertEqual(self.reading.code, Code.DRIVER_CRASHED)
        self.assertIsNone(self.reading.content)

    def test_reading_has_more_time_once_the_source_is_reached(self) -> None:
        self.assertEqual(self.reading.seconds, 7)
        self.reading.end(is_over=False)
        self.assertEqual(self.reading.code, Code.DEADLINE)
        late = Reading(CONFIGURATION)
        late.take({"tables_read": 0, "tables_total": 0})
        self.assertEqual(late.seconds, 7 + READING_SECONDS_MAX)
        self.assertEqual(late.seconds, late.seconds_max)
        late.end(is_over=False)
        self.assertEqual(late.code, Code.SCHEMA_DEADLINE)

    def test_malformed_messages_of_the_sandbox_are_refused(self) -> None:
        data = base64.b64encode(b"x").decode()
        for message in (
            {},
            {"code": "WONDERFUL"},
            {"code": None},
            {"tables_total": 1},
            {"tables_read": -1, "tables_total": 1},
            {"tables_read": True, "tables_total": 1},
            {"tables_read": 1, "tables_total": 10**9},
            {"tables_read": 1.5, "tables_total": 2},
            {"digest": "a", "table_count": "2", "column_count": 1},
            {"digest": "a", "table_count": 2, "column_count": 2**31},
            {"part": "names", "data": "no base 64"},
            {"part": "names", "data": 5},
            {"part": "block", "data": data},  # there is no block yet
            {"part": "digest", "data": data},
        ):
            with self.subTest(message), self.assertRaises((LookupError, TypeError, ValueError)):
                self.take(message)
        self.assertIsNone(self.reading.code)

    def test_content_above_the_size_limit_is_refused(self) -> None:
        data = base64.b64encode(bytes(1000)).decode()
        with mock.patch.object(sandbox, "COMPRESSED_BYTES_MAX", 1999):
            self.take({"part": "names", "data": data})
            for part in ("names", "row_estimates", "new block"):
                with self.subTest(part), self.assertRaises(ValueError):
                    self.take({"part": part, "data": data})

    def test_pieces_are_appended_in_place(self) -> None:
        one = {"data": base64.b64encode(bytes(1)).decode()}
        self.take(*({"part": part, **one} for part in ("names", "row_estimates", "new block")))
        before = [*map(id, self.parts())]
        for part in ("names", "row_estimates", "block"):
            for _ in range(100):
                self.take({"part": part, **one})
        self.assertEqual([*map(len, self.parts())], [101, 101, 101])
        self.assertEqual([*map(id, self.parts())], before, "each piece copies all before it")

    def parts(self) -> list[bytearray]:
        reading = self.reading
        return [reading._names, reading._row_estimates, *reading._blocks]

    def test_number_of_blocks_is_limited(self) -> None:
        with mock.patch.object(sandbox, "BLOCKS_MAX", 3):
            empty = {"part": "new block", "data": ""}
            self.take(empty, empty, empty)
            with self.assertRaises(ValueError):
                self.take(empty)


class ContentTests(SimpleTestCase):
    def test_digest_ignores_the_order_of_tables_and_row_estimates(self) -> None:
        one = pack(TABLES)
        other = pack((found, None) for found, _ in reversed(TABLES))
        self.assertEqual(
            (one.digest, one.names, one.blocks), (other.digest, other.names, other.blocks)
        )
        self.assertNotEqual(one.row_estimates, other.row_estimates)

    def test_digest_depends_on_comments_kinds_columns_and_indexes(self) -> None:
        [(one, _), *rest] = TABLES
        for changes in (
            {"comment": "x"},
            {"kind": "view"},
            {"columns": [column("id", nullable=False)]},
            {"indexes": [{"name": "i", "columns": ["id"], "is_unique": True}]},
        ):
            with self.subTest(changes):
                other: Any = [({**one, **changes}, 0), *rest]
                self.assertNotEqual(pack(other).digest, pack(TABLES).digest)

    def test_content_above_a_limit_is_refused(self) -> None:
        for limit, value in (
            ("TABLES_MAX", 249),
            ("BYTES_MAX", 10_000),
            ("TABLE_BYTES_MAX", 100),
            ("BLOCK_BYTES_MAX", 10_000),
            ("COMPRESSED_BYTES_MAX", 1_000),
        ):
            with (
                self.subTest(limit),
                mock.patch.object(content_module, limit, value),
                self.assertRaises(ConnectionFailure) as caught,
            ):
                pack(TABLES)
            self.assertEqual(caught.exception.code, Code.SCHEMA_TOO_LARGE)

    def test_table_names_that_cannot_be_decompressed_again_are_refused(self) -> None:
        tables = [(table(f"t{number}"), None) for number in range(3_000)]
        names = content_module.decompress(pack(tables).names)
        for size, expected in ((len(names), 3_000), (len(names) - 1, None)):
            with self.subTest(size), mock.patch.object(content_module, "BLOCK_BYTES_MAX", size):
                if expected is None:
                    self.assertRaises(ConnectionFailure, pack, tables)
                else:
                    self.assertEqual(len(content_module.read_list(pack(tables).names)), expected)

    def test_wide_tables_fit_and_huge_columns_are_refused(self) -> None:
        wide = [column(f"measurement_{n:05}", comment="x" * 100) for n in range(10_000)]
        self.assertEqual(pack([(table("wide", *wide), None)]).column_count, 10_000)
        long = "x" * 5_000_000
        for hostile in (column(long), column("id", type=long)):
            with self.assertRaises(ConnectionFailure) as caught:
                pack([(table("hostile", hostile), None)])
            self.assertEqual(caught.exception.code, Code.SCHEMA_TOO_LARGE)

    def test_decompress_stops_at_the_limit(self) -> None:
        bomb = content_module.compress(bytes(10_000))
        with (
            mock.patch.object(content_module, "BLOCK_BYTES_MAX", 9_999),
            self.assertRaises(ValueError),
        ):
            content_module.decompress(bomb)

    def test_block_of_more_lines_than_tables_is_refused(self) -> None:
        bomb = content_module.compress(b"\n" * 1_000_000)
        with self.assertRaises(ValueError):
            content_module.lines_of(bomb)

    def test_list_of_more_values_than_tables_can_have_is_refused(self) -> None:
        bomb = content_module.compress(b"[" + b"0," * 15_000_000 + b"0]")
        with self.assertRaises(ValueError):
            content_module.read_list(bomb)

    def test_table_names_with_line_breaks_keep_one_json_line_per_table(self) -> None:
        names = ["a\nb", "c\r", "d\x85e", "f\u2028g", "h\x1ci", "lone \ud800", '"']
        packed = pack((table(name, column(name)), None) for name in names)
        [block] = packed.blocks
        lines = [json.loads(line)["name"] for line in content_module.lines_of(block)]
        self.assertEqual(lines, sorted(name.replace("\ud800", "?") for name in names))
