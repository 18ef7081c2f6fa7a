"""Tests of the ClickHouse reader on fake rows, spelled as ClickHouse 26.9 spells them."""

from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.schemas.reading.readers.clickhouse import parts_of
from datasources.schemas.reading.testing import fake_catalogue, tables_of

ROWS = {
    "has_projections": [(1,)],
    "projections": [
        ("d", "t", "by_b", ["b"], "SELECT a, b ORDER BY b"),
        ("d", "t", "sums", [], "SELECT sum(a)"),
    ],
    "relations": [("d", "t", "table", "", 3)],
    "columns": [("d", "t", "a", "UInt64", 0, 1, "", "MATERIALIZED today()")],
    "keys": [("d", "t", "a", "a, intHash32(b)")],
    "skipping": [("d", "t", "i", "a, lower(`b, c`)", "bloom_filter(0.01)", 3)],
}


class ClickHouseReaderTests(SimpleTestCase):
    def read(self, **rows):
        connection = fake_catalogue("clickhouse", **ROWS | rows)
        return tables_of(connection, Configuration("clickhouse", database_name="d"))["t"]

    def test_keys_and_indexes_of_clickhouse_have_all_clauses(self):
        table = self.read()
        self.assertEqual(table["columns"][0]["default_value"], "MATERIALIZED today()")
        self.assertEqual(
            table["primary_key"],
            {"name": None, "columns": ["a"], "options": "ORDER BY (a, intHash32(b))"},
        )
        by_b, skipping, sums = table["indexes"]
        self.assertEqual(skipping["columns"], ["a", "lower(`b, c`)"])
        self.assertEqual(
            (skipping["method"], skipping["options"]), ("bloom_filter(0.01)", "GRANULARITY 3")
        )
        self.assertEqual((by_b["columns"], by_b["method"]), (["b"], "projection"))
        self.assertEqual(sums["columns"], ["SELECT sum(a)"])

    def test_older_servers_have_no_list_of_projections(self):
        self.assertEqual(len(self.read(has_projections=[])["indexes"]), 1)

    def test_keys_are_split_at_their_own_commas_only(self):
        for text, parts in {
            "a": ["a"],
            "(a)": ["a"],
            "a, b": ["a", "b"],
            "(a), (b)": ["(a)", "(b)"],
            "(a, f(b, c))": ["a", "f(b, c)"],
            "`a, b`, `c)`": ["a, b", "c)"],
            "`a\\`b`": ["a`b"],
            "concat(a, ', ('), b": ["concat(a, ', (')", "b"],
            "tuple()": ["tuple()"],
            "": [],
        }.items():
            with self.subTest(text):
                self.assertEqual(parts_of(text), parts)
