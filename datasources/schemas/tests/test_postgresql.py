"""Tests of the PostgreSQL reader on a live server."""

from contextlib import closing

import psycopg
from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.schemas.reading.assembly import Assembly
from datasources.schemas.reading.readers.postgresql import PostgreSQLReader
from datasources.schemas.reading.testing import columns_of, tables_of

SCRIPT = '''
CREATE DOMAIN amount AS numeric(10,2);
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TYPE place AS (city text);
CREATE TABLE people (
    id serial, country char(2), code bigint GENERATED ALWAYS AS IDENTITY, gone int,
    name varchar(50) NOT NULL DEFAULT 'x', price amount, feels mood, home place,
    tags text[], seen timestamptz, at timestamp(3) with time zone, met timestamp, day date,
    t time, i interval, u uuid, j jsonb, raw bytea, bits bit(3), cost money, ip inet,
    r real, yes boolean, twice int GENERATED ALWAYS AS (2) STORED,
    PRIMARY KEY (country, id)
);
ALTER TABLE people DROP gone;
COMMENT ON TABLE people IS 'all of them';
COMMENT ON COLUMN people.name IS 'as they say it';
CREATE UNIQUE INDEX by_name ON people (name, lower(country), id) INCLUDE (day);
CREATE VIEW names AS SELECT name FROM people;
CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n FROM people;
CREATE SCHEMA "Old %s ""x""";
CREATE TABLE "Old %s ""x"""."People.%d" (
    "A" int PRIMARY KEY, up int REFERENCES "Old %s ""x"""."People.%d",
    country char(2), id int, CONSTRAINT known FOREIGN KEY (country, id) REFERENCES people
);
CREATE TABLE nothing ();
CREATE TABLE months (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE january PARTITION OF months FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE FOREIGN DATA WRAPPER dummy;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER dummy;
CREATE FOREIGN TABLE far (id int) SERVER elsewhere;
'''
OLD = 'Old %s "x"'


class PostgreSQLReaderTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())
        cls.server.execute(f"ALTER ROLE {USERNAME} SUPERUSER")
        with closing(cls.connect()) as connection:
            connection.execute(SCRIPT)
            connection.commit()

    @classmethod
    def connect(cls):
        return psycopg.connect(
            host="127.0.0.1",
            port=cls.server.port,
            dbname=DATABASE,
            user=USERNAME,
            password=PASSWORD,
        )

    maxDiff = None

    def reader(self, schema_name=None):
        connection = self.connect()
        self.addCleanup(connection.close)
        return PostgreSQLReader(connection, Configuration("postgresql", schema_name=schema_name))

    def read(self, schema_name=None):
        reader = self.reader(schema_name)
        return tables_of(reader.connection, reader.configuration)

    def test_kinds_are_read_and_partitions_and_system_schemas_left_out(self):
        kinds = {name: table["kind"] for name, table in self.read().items()}
        self.assertEqual(
            kinds,
            {
                "people": "table",
                "nothing": "table",
                "months": "table",
                "names": "view",
                "counts": "materialized_view",
                "far": "foreign_table",
                f"{OLD}.People.%d": "table",
            },
        )

    def test_columns_of_postgresql_tables_are_read(self):
        people = self.read()["people"]
        self.assertEqual(
            columns_of(people),
            {
                "id": ("integer", "integer", False, True),
                "country": ("character(2)", "string", False, False),
                "code": ("bigint", "integer", False, True),
                "name": ("character varying(50)", "string", False, True),
                "price": ("amount", "decimal", True, False),
                "feels": ("mood", "string", True, False),
                "home": ("place", "object", True, False),
                "tags": ("text[]", "array", True, False),
                "seen": ("timestamp with time zone", "timestamp_tz", True, False),
                "at": ("timestamp(3) with time zone", "timestamp_tz", True, False),
                "met": ("timestamp without time zone", "timestamp", True, False),
                "day": ("date", "date", True, False),
                "t": ("time without time zone", "time", True, False),
                "i": ("interval", "interval", True, False),
                "u": ("uuid", "uuid", True, False),
                "j": ("jsonb", "json", True, False),
                "raw": ("bytea", "binary", True, False),
                "bits": ("bit(3)", "binary", True, False),
                "cost": ("money", "decimal", True, False),
                "ip": ("inet", "string", True, False),
                "r": ("real", "float", True, False),
                "yes": ("boolean", "boolean", True, False),
                "twice": ("integer", "integer", True, True),
            },
        )
        comments = {column["name"]: column["comment"] for column in people["columns"]}
        self.assertEqual((people["comment"], comments["name"]), ("all of them", "as they say it"))
        self.assertIsNone(comments["id"])

    def test_columns_of_postgresql_keys_and_indexes_keep_their_order(self):
        tables = self.read()
        self.assertEqual(
            tables["people"]["primary_key"],
            {"name": "people_pkey", "columns": ["country", "id"], "options": None},
        )
        self.assertEqual(
            tables["people"]["indexes"],
            [
                {
                    "name": "by_name",
                    "columns": ["name", "lower(country::text)", "id"],
                    "column_options": ["", "", ""],
                    "is_unique": True,
                    "method": "btree",
                    "included_columns": ["day"],
                    "predicate": None,
                    "options": None,
                }
            ],
        )
        up, known = tables[f"{OLD}.People.%d"]["foreign_keys"]
        self.assertEqual(
            known,
            {
                "name": "known",
                "columns": ["country", "id"],
                "referred_schema": "public",
                "referred_table": "people",
                "referred_columns": ["country", "id"],
                "on_update": "no_action",
                "on_delete": "no_action",
                "options": None,
            },
        )
        self.assertEqual((up["referred_schema"], up["referred_table"]), (OLD, "People.%d"))

    def test_row_estimates_exist_after_analyze(self):
        with closing(self.connect()) as connection:
            connection.autocommit = True
            connection.execute("CREATE SCHEMA counted")
            connection.execute("CREATE TABLE counted.t AS SELECT generate_series(1, 1000) AS n")
            self.addCleanup(self.change, "DROP SCHEMA counted CASCADE")
            self.assertIsNone(self.read("counted")["counted.t"]["row_estimate"])
            connection.execute("ANALYZE counted.t")
            self.assertEqual(self.read("counted")["counted.t"]["row_estimate"], 1000)

    def test_only_the_given_schema_is_read(self):
        self.assertEqual({*self.read(OLD)}, {f"{OLD}.People.%d"})
        self.assertTrue(self.reader(OLD).has_schema())
        self.assertFalse(self.reader("old").has_schema())
        self.assertIn("pg_catalog.pg_class", self.read("pg_catalog"))

    def test_all_catalogue_statements_share_one_database_snapshot(self):
        assembly = Assembly(self.reader("public"))
        with closing(self.connect()) as connection:
            connection.execute("ALTER TABLE months ADD late int")
            connection.commit()
        self.addCleanup(self.change, "ALTER TABLE months DROP late")
        months = {table["name"]: table for table, _ in assembly.tables()}["months"]
        self.assertEqual([column["name"] for column in months["columns"]], ["at", "n"])

    def change(self, statement):
        with closing(self.connect()) as connection:
            connection.execute(statement)
            connection.commit()

    def test_reading_a_schema_is_read_only(self):
        reader = self.reader()
        [*reader.relations()]
        with self.assertRaises(psycopg.errors.ReadOnlySqlTransaction):
            reader.connection.execute("CREATE TABLE x ()")
