"""Tests of the MongoDB reader against a fake server."""

from contextlib import closing
from datetime import UTC, datetime

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from django.test import SimpleTestCase
from pymongo.errors import PyMongoError

from datasources.connections.testing.connectors import connector_to
from datasources.connections.testing.fake_mongodb import serve_mongo
from datasources.connections.testing.listeners import Listener
from datasources.schemas.reading.readers.mongodb import FIELDS_MAX, SAMPLE_SIZE, Fields
from datasources.schemas.reading.testing import changed_members, columns_of, tables_of

OLD = {"_id": ObjectId(), "name": "a", "n": 1, "home": {"city": "x", "at": {"x": {"y": 1}}}}
NEW = {"_id": ObjectId(), "name": None, "n": Int64(2), "tags": ["a"], "at": datetime.now(UTC)}
COLLECTIONS = [
    {"name": "orders", "type": "collection"},
    {"name": "recent", "type": "view"},
    {"name": "system.views", "type": "collection"},
]
INDEXES = [
    {"v": 2, "key": {"_id": 1}, "name": "_id_"},
    {"v": 2, "key": {"name": 1, "home.city": -1}, "name": "by_name", "unique": True},
]
# What indexes differ in, before and after, and the members that show it.
INDEX_PAIRS = {
    "condition": ({}, {"partialFilterExpression": {"a": {"$gt": 5}}}, "predicate"),
    "other condition": (
        {"partialFilterExpression": {"a": {"$gt": datetime(2026, 1, 1, tzinfo=UTC)}}},
        {"partialFilterExpression": {"a": {"$gt": datetime(2026, 1, 2, tzinfo=UTC)}}},
        "predicate",
    ),
    "sparse": ({}, {"sparse": True}, "options"),
    "expiry": ({"expireAfterSeconds": 60}, {"expireAfterSeconds": Int64(61)}, "options"),
    "collation": (
        {"collation": {"locale": "de", "strength": 1}},
        {"collation": {"locale": "de", "strength": 2}},
        "options",
    ),
    "hidden": ({}, {"hidden": True}, "options"),
    "projection": ({}, {"wildcardProjection": {"a": 1}}, "options"),
    "direction": ({}, {"key": {"a": -1}}, "column_options"),
    "order": ({"key": {"a": 1, "b": 1}}, {"key": {"b": 1, "a": 1}}, "columns"),
    "hashed": ({}, {"key": {"a": "hashed"}}, "column_options method"),
    "sphere": ({"key": {"a": "2d"}}, {"key": {"a": "2dsphere"}}, "column_options method"),
    "wildcard": ({}, {"key": {"a.$**": 1}}, "columns method"),
    "uniqueness": ({}, {"unique": True}, "is_unique"),
}


def refusal(number):
    return {"ok": 0, "code": number, "errmsg": "words"}


def batch(rows):
    return {"ok": 1, "cursor": {"id": Int64(0), "ns": "sales.orders", "firstBatch": rows}}


class MongoDBReaderTests(SimpleTestCase):
    def read(self, find, **answers):
        """Read a fake server, where `find` answers or refuses the command `find`."""
        self.commands = []

        def found(command):
            self.commands.append(command)
            answer = find(command)
            return answer if isinstance(answer, dict) else batch(answer)

        answers = {
            "listCollections": batch(COLLECTIONS),
            "listIndexes": batch(INDEXES),
            "count": {"ok": 1, "n": 12},
            "find": found,
            **answers,
        }
        with Listener(serve_mongo(answers)) as server:
            connector = connector_to("mongodb", server.port, username=None, secrets={})
            with closing(connector.connect()) as client:
                return tables_of(client, connector.configuration)

    def test_collections_have_the_fields_of_their_documents(self):
        tables = self.read(lambda command: [NEW if command.get("sort") == {"_id": -1} else OLD])
        self.assertEqual(
            {name: (table["kind"], table["row_estimate"]) for name, table in tables.items()},
            {"orders": ("collection", 12), "recent": ("view", None)},
        )
        orders = tables["orders"]
        self.assertEqual(
            columns_of(orders),
            {
                "_id": ("objectId", "string", False, False),
                "name": ("string", "string", True, False),
                "n": ("int|long", "integer", False, False),
                "home": ("object", "object", True, False),
                "home.city": ("string", "string", True, False),
                "home.at": ("object", "object", True, False),
                "home.at.x": ("object", "object", True, False),
                "tags": ("array", "array", True, False),
                "at": ("date", "timestamp_tz", True, False),
            },
        )
        self.assertEqual(orders["primary_key"], {"name": None, "columns": ["_id"], "options": None})
        [index] = orders["indexes"]
        self.assertEqual(
            (index["name"], index["columns"], index["column_options"], index["is_unique"]),
            ("by_name", ["name", "home.city"], ["", "-1"], True),
        )

    def test_each_difference_of_two_indexes_is_noticed(self):
        for name, (before, after, members) in INDEX_PAIRS.items():
            with self.subTest(name):
                states = []
                for index in (before, after):
                    index = {"v": 2, "key": {"a": 1}, "name": "i"} | index
                    tables = self.read(lambda command: [OLD], listIndexes=batch([index]))
                    states.append(tables["orders"])
                found = changed_members(*states)
                self.assertEqual({member for _, _, member in found}, {*members.split()})

    def test_fields_of_a_text_index_are_those_of_its_weights(self):
        index = {
            "v": 2,
            "key": {"a": 1, "_fts": "text", "_ftsx": 1, "b": -1.0},
            "name": "i",
            "weights": {"title": 10, "body": Int64(1)},
        }
        tables = self.read(lambda command: [OLD], listIndexes=batch([index]))
        [read] = tables["orders"]["indexes"]
        self.assertEqual(read["columns"], ["a", "body", "title", "b"])
        self.assertEqual(read["column_options"], ["", "text", "text", "-1"])
        self.assertEqual(
            (read["method"], read["options"]), ("text", '{"weights": {"title": 10, "body": 1}}')
        )

    def test_index_of_a_clustered_collection_is_its_primary_key(self):
        index = {"v": 2, "key": {"_id": 1}, "name": "mine", "unique": True, "clustered": True}
        orders = self.read(lambda command: [OLD], listIndexes=batch([index]))["orders"]
        self.assertEqual(orders["primary_key"]["options"], '{"clustered": true}')
        self.assertEqual(orders["indexes"], [])

    def test_indexes_of_a_time_series_are_read(self):
        series = batch([{"name": "weather", "type": "timeseries"}])
        weather = self.read(lambda command: [OLD], listCollections=series)["weather"]
        self.assertIsNone(weather["primary_key"])
        self.assertEqual([index["name"] for index in weather["indexes"]], ["by_name"])

    def test_sample_is_the_oldest_and_newest_documents(self):
        self.read(lambda command: [OLD])
        looked = [(find["find"], find.get("sort"), find["limit"]) for find in self.commands]
        half = SAMPLE_SIZE // 2
        self.assertEqual(
            looked,
            [
                ("orders", {"_id": 1}, half),
                ("orders", {"_id": -1}, half),
                ("recent", None, SAMPLE_SIZE),
            ],
        )

    def test_date_beyond_the_range_of_python_does_not_stop_the_reading(self):
        strange = {"_id": 1, "at": DatetimeMS(2**62)}
        tables = self.read(lambda command: [strange])
        self.assertEqual(columns_of(tables["orders"])["at"][0], "date")

    def test_view_that_cannot_be_read_has_no_columns(self):
        for number in (13, 167, 16608):  # Unauthorized, OptionNotSupportedOnView, an expression's
            with self.subTest(number):
                tables = self.read(
                    lambda command, number=number: (
                        refusal(number) if command["find"] == "recent" else [OLD]
                    )
                )
                self.assertEqual(tables["recent"]["columns"], [])
                problem = (
                    "The user may not read this collection or view."
                    if number == 13
                    else f"(error {number})."
                )
                self.assertIn(problem, tables["recent"]["problem"])
                self.assertIsNone(tables["orders"]["problem"])
                self.assertIn("home.city", columns_of(tables["orders"]))

    def test_collection_whose_sample_fails_midway_has_no_columns(self):
        tables = self.read(
            lambda command: [OLD] if command.get("sort") != {"_id": -1} else refusal(13)
        )
        self.assertEqual(tables["orders"]["columns"], [])
        self.assertIn("home.city", columns_of(tables["recent"]))

    def test_collection_is_read_without_rights_to_count_or_list_indexes(self):
        tables = self.read(lambda command: [OLD], count=refusal(13), listIndexes=refusal(13))
        orders = tables["orders"]
        self.assertEqual((orders["row_estimate"], orders["indexes"]), (None, []))
        self.assertIn("home.city", columns_of(orders))

    def test_temporary_errors_stop_the_reading(self):
        # A schema without the unread fields would show them as removed until the next refresh.
        for answers in ({}, {"count": refusal(50)}, {"listIndexes": refusal(11601)}):
            with self.subTest(answers), self.assertRaises(PyMongoError):
                self.read(
                    lambda command: [OLD] if command["find"] == "orders" else refusal(50), **answers
                )

    def test_field_with_values_of_several_types_has_a_mixed_type(self):
        fields = Fields([{"a": 1, "b": "x"}, {"a": 1.5, "b": 2}, {"a": None, "b": True}])
        self.assertEqual(fields.type_of("a"), "double|int")
        self.assertEqual(fields.type_of("b"), "bool|int|string")
        self.assertTrue(fields.is_nullable("a"))
        self.assertFalse(fields.is_nullable("b"))

    def test_number_of_fields_is_limited(self):
        fields = Fields({str(i * 1000 + j): 1 for j in range(1000)} for i in range(5))
        self.assertEqual(len(fields.names()), FIELDS_MAX)
