"""Tests of the readers of files, opened by their connectors."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from django.test import SimpleTestCase, override_settings

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.stages import Stages
from datasources.schemas.reading.readers import READERS
from datasources.schemas.reading.testing import columns_of, tables_of

SQLITE = """
CREATE TABLE people (
    id INTEGER PRIMARY KEY, name VARYING CHARACTER(20) NOT NULL DEFAULT 'x', big UNSIGNED BIG INT,
    price DECIMAL(10,2), born DATE, photo BLOB, untyped, name_length INT AS (length(name))
);
CREATE TABLE pets (
    nr INT, owner INT REFERENCES people, other INT REFERENCES people (id), PRIMARY KEY (owner, nr)
) WITHOUT ROWID;
CREATE UNIQUE INDEX by_name ON people (name, lower(name));
CREATE VIEW names AS SELECT name FROM people;
CREATE VIEW broken AS SELECT * FROM gone;
CREATE TABLE gone (id INT);
DROP TABLE gone;
CREATE VIRTUAL TABLE notes USING fts5(line);
"""
DUCKDB = """
CREATE TABLE people (
    id INTEGER PRIMARY KEY, name VARCHAR NOT NULL DEFAULT 'x', mood ENUM('ok', 'bad'),
    tags INTEGER[], home STRUCT(city VARCHAR), seen TIMESTAMP WITH TIME ZONE, price DECIMAL(18,3)
);
COMMENT ON TABLE people IS 'all of them';
COMMENT ON COLUMN people.id IS 'given at birth';
CREATE TABLE pets (nr INTEGER UNIQUE, owner INTEGER REFERENCES people (id));
CREATE INDEX by_owner ON pets (owner, (nr + 1));
CREATE VIEW names AS SELECT name FROM people;
CREATE SCHEMA old;
CREATE TABLE old.people (id INTEGER);
"""


class FileTests(SimpleTestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.enterContext(override_settings(STORAGE_ROOT=self.folder, STORAGE_URL=None))
        (self.folder / "1").mkdir()

    def path(self, name):
        return self.folder / "1" / name

    def open(self, type_name, **fields):
        """Return a connection to the file named after the type, opened by its connector."""
        configuration = Configuration(type=type_name, file_path=f"1/{type_name}", **fields)
        connection = CONNECTORS[type_name](configuration, None, Stages()).connect()
        self.addCleanup(connection.close)
        return connection, configuration

    def read(self, type_name, **fields):
        return tables_of(*self.open(type_name, **fields))

    def write_sqlite(self, script):
        connection = sqlite3.connect(self.path("sqlite"))
        connection.executescript(script)
        connection.close()

    def write_duckdb(self, script):
        with duckdb.connect(self.path("duckdb")) as connection:
            connection.execute(script)

    def test_sqlite_catalogue_is_read(self):
        self.write_sqlite(SQLITE)
        tables = self.read("sqlite")
        kinds = {name: table["kind"] for name, table in tables.items()}
        self.assertEqual(
            kinds,
            {
                "people": "table",
                "pets": "table",
                "notes": "table",
                "names": "view",
                "broken": "view",
            },
        )
        self.assertEqual(
            columns_of(tables["people"]),
            {
                "id": ("INTEGER", "integer", False, False),
                "name": ("VARYING CHARACTER(20)", "string", False, True),
                "big": ("UNSIGNED BIG INT", "integer", True, False),
                "price": ("DECIMAL(10,2)", "decimal", True, False),
                "born": ("DATE", "date", True, False),
                "photo": ("BLOB", "binary", True, False),
                "untyped": ("", "other", True, False),
                "name_length": ("INT", "integer", True, True),
            },
        )
        self.assertEqual(tables["people"]["primary_key"]["columns"], ["id"])
        self.assertEqual(tables["pets"]["primary_key"]["columns"], ["owner", "nr"])
        self.assertEqual(
            [
                (key["columns"], key["referred_table"], key["referred_columns"])
                for key in tables["pets"]["foreign_keys"]
            ],
            [(["other"], "people", ["id"]), (["owner"], "people", ["id"])],
        )
        [index] = tables["people"]["indexes"]
        self.assertEqual(
            (index["name"], index["columns"], index["is_unique"]),
            ("by_name", ["name", "lower(name)"], True),
        )
        self.assertEqual([*columns_of(tables["names"])], ["name"])
        self.assertEqual(columns_of(tables["notes"])["line"][1], "other")

    def test_sqlite_view_of_a_dropped_table_has_no_columns(self):
        self.write_sqlite(SQLITE)
        self.assertEqual(self.read("sqlite")["broken"]["columns"], [])

    def test_sqlite_row_estimates_come_from_its_statistics(self):
        self.write_sqlite(SQLITE + "INSERT INTO people (name) VALUES ('a'), ('b');")
        self.assertIsNone(self.read("sqlite")["people"]["row_estimate"])
        self.write_sqlite("ANALYZE;")
        tables = self.read("sqlite")
        self.assertEqual(tables["people"]["row_estimate"], 2)
        self.assertNotIn("sqlite_stat1", tables)

    def test_duckdb_catalogue_is_read(self):
        self.write_duckdb(DUCKDB + "INSERT INTO people (id) VALUES (1), (2);")
        tables = self.read("duckdb")
        self.assertEqual({*tables}, {"people", "pets", "names", "old.people"})
        people = tables["people"]
        self.assertEqual((people["comment"], people["row_estimate"]), ("all of them", 2))
        self.assertEqual(people["columns"][0]["comment"], "given at birth")
        self.assertEqual(
            columns_of(people),
            {
                "id": ("INTEGER", "integer", False, False),
                "name": ("VARCHAR", "string", False, True),
                "mood": ("ENUM('ok', 'bad')", "string", True, False),
                "tags": ("INTEGER[]", "array", True, False),
                "home": ("STRUCT(city VARCHAR)", "object", True, False),
                "seen": ("TIMESTAMP WITH TIME ZONE", "timestamp_tz", True, False),
                "price": ("DECIMAL(18,3)", "decimal", True, False),
            },
        )
        self.assertEqual(people["primary_key"]["columns"], ["id"])
        [key] = tables["pets"]["foreign_keys"]
        self.assertEqual(
            (key["columns"], key["referred_table"], key["referred_columns"]),
            (["owner"], "people", ["id"]),
        )
        indexes = {index["name"]: index for index in tables["pets"]["indexes"]}
        self.assertEqual(indexes["by_owner"]["columns"][0], "owner")
        self.assertIn("nr + 1", indexes["by_owner"]["columns"][1])
        self.assertTrue(any(index["is_unique"] for index in indexes.values()))
        self.assertEqual(tables["names"]["kind"], "view")

    def test_duckdb_reads_only_the_given_schema(self):
        self.write_duckdb(DUCKDB)
        self.assertEqual({*self.read("duckdb", schema_name="old")}, {"old.people"})
        for name, is_there in (("old", True), ("none", False)):
            with self.subTest(name):
                connection, configuration = self.open("duckdb", schema_name=name)
                reader = READERS["duckdb"](connection, configuration)
                self.assertEqual(reader.has_schema(), is_there)

    def test_csv_json_and_parquet_files_are_one_table(self):
        self.path("csv").write_text("id,born,name\n1,2024-01-02,a\n2,2024-01-03,b\n")
        self.path("json").write_text('[{"id": 1, "home": {"city": "a"}, "tags": [1]}]')
        self.assertEqual(
            columns_of(self.read("csv")["data"]),
            {
                "id": ("BIGINT", "integer", True, False),
                "born": ("DATE", "date", True, False),
                "name": ("VARCHAR", "string", True, False),
            },
        )
        table = self.read("json")["data"]
        self.assertEqual((table["kind"], table["row_estimate"]), ("file", None))
        self.assertEqual(
            [facts[1] for facts in columns_of(table).values()], ["integer", "object", "array"]
        )

    def test_parquet_metadata_gives_row_count_and_required_columns(self):
        # DuckDB writes the keys of a map, and a struct without nulls, as REQUIRED.
        rows = "SELECT i AS id, map {i: 'x'} AS names, {'a': i} AS pair FROM range(3) t(i)"
        duckdb.execute(f"COPY ({rows}) TO '{self.path('parquet')}' (FORMAT parquet)")
        table = self.read("parquet")["data"]
        self.assertEqual(table["row_estimate"], 3)
        self.assertEqual(
            [facts[1:3] for facts in columns_of(table).values()],
            [("integer", True), ("object", True), ("object", False)],
        )

    def test_catalogue_does_not_reveal_the_path_of_the_file(self):
        self.write_sqlite(SQLITE)
        self.assertNotIn(str(self.folder), repr(self.read("sqlite")))
