"""Tests of what SQL can and cannot do on a connection to a SQLite file."""

import sqlite3
from unittest import mock

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from datasources.connections.failures import Code
from datasources.connections.testing.files import ROWS, FilesTestCase, write_sqlite


class SQLiteFileTests(FilesTestCase):
    """SQL on a SQLite file, which is compared with its copy after each test."""

    def setUp(self):
        super().setUp()
        write_sqlite(self.root / "sqlite")
        write_sqlite(self.root / "other")
        self.before = {path: path.read_bytes() for path in self.root.iterdir()}

    def tearDown(self):
        self.assertEqual({path: path.read_bytes() for path in self.root.iterdir()}, self.before)

    def test_sqlite_file_refuses_every_statement_but_reading(self):
        connection = self.connect("sqlite")
        for statement in (
            f"ATTACH '{self.root}/other' AS other",
            f"ATTACH '{self.root}/new' AS other",
            "ATTACH ':memory:' AS other",
            f"VACUUM INTO '{self.root}/new'",
            "VACUUM",
            "SELECT load_extension('x')",
            "SELECT fts3_tokenizer('simple')",
            "SELECT readfile('/etc/passwd')",
            "INSERT INTO people VALUES (4, 'Edsger')",
            "UPDATE people SET name = ''",
            "DELETE FROM people",
            "DROP TABLE people",
            "CREATE TABLE new (x)",
            "CREATE TEMP TABLE new (x)",
            "PRAGMA query_only = OFF",
            "PRAGMA trusted_schema = ON",
            "PRAGMA writable_schema = ON",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA user_version = 3",
            f"PRAGMA temp_store_directory = '{self.root}'",
        ):
            with self.subTest(statement), self.assertRaises(sqlite3.Error):
                connection.execute(statement)
        self.assertEqual(connection.execute("SELECT * FROM people").fetchall(), ROWS)

    def test_full_text_search_works_on_a_sqlite_file(self):
        result = self.connect("sqlite").execute("SELECT line FROM notes WHERE notes MATCH 'hello'")
        self.assertEqual(result.fetchall(), [("hello world",)])

    def test_sqlite_file_whose_name_is_swapped_while_opening_is_refused(self):
        real_connect = sqlite3.connect

        def swap(*args, **kwargs):
            (self.root / "sqlite").rename(self.outside / "kept")
            (self.root / "sqlite").symlink_to(self.root / "other")
            return real_connect(*args, **kwargs)

        with mock.patch("sqlite3.connect", swap):
            self.assertEqual(self.try_out("sqlite"), (Code.FILE_MISSING, ""))
        (self.outside / "kept").rename(self.root / "sqlite")

    def test_sqlalchemy_can_query_and_inspect_a_sqlite_file(self):
        creator = self.connector("sqlite").connect
        engine = create_engine("sqlite://", creator=creator, poolclass=NullPool)
        with engine.connect() as connection:
            query = text("SELECT name FROM people WHERE id = :id")
            self.assertEqual(connection.execute(query, {"id": 2}).scalar(), "Grace")
        inspector = inspect(engine)
        columns = inspector.get_multi_columns()[None, "people"]
        self.assertEqual([column["name"] for column in columns], ["id", "name"])
        keys = inspector.get_multi_foreign_keys()[None, "pets"]
        self.assertEqual(keys[0]["referred_table"], "people")
        unique = inspector.get_multi_unique_constraints()[None, "people"]
        self.assertEqual(unique[0]["column_names"], ["name"])
