"""Tests of what PostgreSQL itself cannot spell: it costs no more than the definition it is in."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import psycopg
from django.test import SimpleTestCase

from datasources.connections.testing.postgresql import (
    DATABASE,
    OlderPostgreSQLServer,
    PostgreSQLServer,
)
from datasources.schemas.reading.readers import postgresql_damage
from datasources.schemas.reading.readers.postgresql import PostgreSQLReader
from datasources.schemas.reading.readers.postgresql_session import begin
from datasources.schemas.reading.testing import read_postgresql, tables_in

GOOD = """
CREATE TABLE good (id int PRIMARY KEY, a int DEFAULT 1, b int DEFAULT random() * 5);
CREATE INDEX i ON good ((a + 1)) WHERE b > 2;
"""
# Constants of the type are spelled by a function of a library, as those of PostGIS are.
LIBRARY = """
CREATE TYPE shape;
CREATE FUNCTION shape_in(cstring) RETURNS shape AS '{0}', 'hstore_in' LANGUAGE c IMMUTABLE STRICT;
CREATE FUNCTION shape_out(shape) RETURNS cstring AS '{0}', 'hstore_out'
    LANGUAGE c IMMUTABLE STRICT;
CREATE TYPE shape (INPUT = shape_in, OUTPUT = shape_out, STORAGE = extended);
CREATE FUNCTION is_in(int, shape) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
CREATE DOMAIN shaped AS shape DEFAULT 'a=>1';
CREATE TABLE bad (
    id int PRIMARY KEY, plain int DEFAULT 5, a shape DEFAULT 'a=>1', b shaped,
    c boolean GENERATED ALWAYS AS (is_in(id, 'a=>1')) STORED
);
CREATE INDEX bad_part ON bad (id) WHERE is_in(id, 'a=>1');
CREATE INDEX bad_expression ON bad (plain DESC, is_in(id, 'a=>1'));
"""
FUNCTION = """
CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE DOMAIN shaped AS int DEFAULT f(1);
CREATE TABLE bad (
    id int PRIMARY KEY, plain int DEFAULT 5, a int DEFAULT f(1), b shaped,
    c int GENERATED ALWAYS AS (f(id)) STORED
);
CREATE INDEX bad_part ON bad (id) WHERE f(id) = 1;
CREATE INDEX bad_expression ON bad (plain DESC, f(id));
DELETE FROM pg_proc WHERE proname = 'f';
"""
DEFAULTS = {
    "id": (False, None),
    "plain": (True, "5"),
    "a": (True, None),
    "b": (True, None),
    "c": (True, None),
}
INDEXES = {
    "bad_expression": (["plain", "(expression)"], ["DESC", ""], None),
    "bad_part": (["id"], [""], "(expression)"),
}
RACES = {
    "DROP FUNCTION f CASCADE": "CREATE TABLE bad (a int, b int DEFAULT f())",
    "DROP INDEX j": "CREATE TABLE bad (a int); CREATE INDEX j ON bad (a, (a + f()))",
    "DROP TABLE bad": "CREATE TABLE bad (a int DEFAULT f()); CREATE INDEX j ON bad ((a + f()))",
    "DROP TYPE mood CASCADE": "CREATE TYPE mood AS ENUM ('ok');"
    "CREATE TABLE bad (a int, b mood DEFAULT 'ok')",
}


class DamageTests:
    """Tests of a server."""

    server_class: type[PostgreSQLServer]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.server_class())

    def write(self, script):
        self.server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        self.server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        self.server.execute(GOOD, DATABASE)
        self.good = self.read()["good"]
        self.server.execute(script, DATABASE)

    def read(self):
        return tables_in(read_postgresql(self.server.port))

    def assert_only_definitions_are_missing(self):
        tables = self.read()
        self.assertEqual(tables["good"], self.good)
        bad = tables["bad"]
        defaults = {
            column["name"]: (column["has_default"], column["default_value"])
            for column in bad["columns"]
        }
        self.assertEqual(defaults, DEFAULTS)
        indexes = {
            index["name"]: (index["columns"], index["column_options"], index["predicate"])
            for index in bad["indexes"]
        }
        self.assertEqual(indexes, INDEXES)
        self.assertEqual(self.read(), tables)

    def test_library_that_is_gone_costs_only_the_definitions_with_its_constants(self):
        with psycopg.connect(self.server.uri, dbname=DATABASE) as connection:
            statement = "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'"
            [[folder]] = connection.execute(statement).fetchall()
        with TemporaryDirectory() as copies:
            Path(copies).chmod(0o755)
            library = shutil.copy(Path(folder) / "hstore.so", copies)
            self.write(LIBRARY.format(library))
        self.assert_only_definitions_are_missing()

    def test_function_that_is_gone_costs_only_the_definitions_that_call_it(self):
        self.write(FUNCTION)
        self.assert_only_definitions_are_missing()

    def test_objects_that_are_dropped_while_they_are_read_do_not_end_the_refresh(self):
        read_keys = PostgreSQLReader.primary_keys
        for change, script in RACES.items():
            self.write(f"CREATE FUNCTION f() RETURNS int IMMUTABLE RETURN 1; {script}")
            changes = [change]

            def drop_and_read(reader, changes=changes):
                while changes:
                    self.server.execute(changes.pop(), DATABASE)
                return read_keys(reader)

            with (
                self.subTest(change),
                mock.patch.object(PostgreSQLReader, "primary_keys", drop_and_read),
            ):
                tables = self.read()
                self.assertEqual(tables["good"], self.good)
                for index in tables.get("bad", self.good)["indexes"]:
                    self.assertNotIn(None, index["columns"])

    def test_locked_table_with_plain_defaults_is_read(self):
        """`VACUUM FULL` and `ALTER TABLE` may lock a table for hours."""
        self.write("CREATE TABLE locked (id serial PRIMARY KEY, a text DEFAULT lower('A'))")
        unlocked = self.read()
        with psycopg.connect(self.server.uri, dbname=DATABASE) as connection:
            connection.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
            self.assertEqual(self.read(), unlocked)

    def test_function_that_the_server_does_not_have_is_not_looked_for_in_each_row(self):
        self.write("".join(f"CREATE TABLE t{number} (a int PRIMARY KEY);" for number in range(9)))
        unknown = {"pg_index": ("indexrelid", "no_such_function(indexrelid)")}
        with (
            psycopg.connect(self.server.uri, dbname=DATABASE, autocommit=True) as connection,
            mock.patch.object(postgresql_damage, "EXPRESSIONS", unknown),
            mock.patch.object(postgresql_damage, "begin", wraps=begin) as begun,
        ):
            with self.assertRaises(psycopg.errors.UndefinedFunction):
                postgresql_damage.damaged(connection)
            self.assertEqual(begun.call_count, 2)


class PostgreSQLDamageTests(DamageTests, SimpleTestCase):
    server_class = PostgreSQLServer


class OlderPostgreSQLDamageTests(DamageTests, SimpleTestCase):
    server_class = OlderPostgreSQLServer
