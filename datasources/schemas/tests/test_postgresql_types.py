"""Tests of the types of PostgreSQL: all that are built in, and those that people make."""

import psycopg
from django.test import SimpleTestCase
from psycopg.sql import SQL, Identifier

from datasources.connections.testing.postgresql import (
    DATABASE,
    OlderPostgreSQLServer,
    PostgreSQLServer,
)
from datasources.schemas.reading.testing import read_postgresql, tables_in

# Built-in types that no common type describes: shapes, texts to search, and the server's own.
OTHER = {
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery"),
    *("aclitem", "gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
    *("pg_dependencies", "pg_mcv_list", "pg_ndistinct", "pg_node_tree", "pg_snapshot"),
    *("tid", "txid_snapshot"),
}
PSEUDO = {"cstring", "record"}
BUILT_IN = {
    "boolean": "bool",
    "integer": "int2 int4 int8 oid xid xid8 cid",
    "decimal": "numeric numeric(12) numeric(12,3) numeric(3,-2) money",
    "float": "float4 float8 float(10)",
    "string": 'text varchar varchar(5) char(5) bpchar name "char" xml inet cidr macaddr macaddr8'
    " jsonpath pg_lsn refcursor regclass regcollation regconfig regdictionary regnamespace regoper"
    " regoperator regproc regprocedure regrole regtype",
    "binary": "bytea bit bit(3) varbit varbit(3)",
    "date": "date",
    "time": "time time(3) timetz timetz(3)",
    "timestamp": "timestamp timestamp(0)",
    "timestamp_tz": "timestamptz timestamptz(6)",
    "interval": "interval interval(3)",
    "uuid": "uuid",
    "json": "json jsonb",
    "array": "int2vector oidvector int4multirange int8multirange nummultirange tsmultirange"
    " tstzmultirange datemultirange",
    "object": "int4range int8range numrange tsrange tstzrange daterange",
}
FIELDS = (
    *("year", "month", "day", "hour", "minute", "second", "second(3)", "year to month"),
    *("day to hour", "day to minute", "day to second", "day to second(3)", "hour to minute"),
    *("hour to second", "hour to second(0)", "minute to second", "minute to second(6)"),
)
OWN = """
CREATE SCHEMA "Other"; CREATE SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
CREATE EXTENSION isn; CREATE EXTENSION cube;
CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE TYPE "Mood" AS (ok boolean);
CREATE TYPE "Other".mood AS (city text); CREATE TYPE "Other"."MOOD" AS RANGE (subtype = float8);
CREATE TYPE "od(d" AS ENUM ('x'); CREATE TYPE "list[]" AS ENUM ('x');
CREATE TYPE "a.b" AS ENUM ('x'); CREATE TYPE public.text AS ENUM ('x');
CREATE TYPE "Other"."integer" AS ENUM ('x');
CREATE DOMAIN email AS extensions.citext CHECK (VALUE ~ '@');
CREATE DOMAIN work_email AS email; CREATE DOMAIN must AS work_email NOT NULL;
CREATE DOMAIN "Other".must AS int DEFAULT 7; CREATE DOMAIN "MUST" AS date;
CREATE DOMAIN over_must AS must; CREATE DOMAIN amount AS numeric(10,2) NOT NULL DEFAULT 1.5;
CREATE DOMAIN amounts AS amount[]; CREATE DOMAIN feeling AS mood;
CREATE DOMAIN spot AS "Other".mood;
CREATE DOMAIN span AS int4range; CREATE DOMAIN spans AS int4multirange; CREATE DOMAIN doc AS jsonb;
CREATE TABLE houses (id int); CREATE TABLE gardens (id int);
CREATE TYPE pair AS (a int, b int); CREATE DOMAIN couple AS pair; CREATE DOMAIN garden AS gardens;
CREATE DOMAIN over_couple AS couple NOT NULL;
CREATE TABLE t (
    c01 mood, c02 "Mood", c03 "Other".mood, c04 "Other"."MOOD", c05 "od(d", c06 "list[]",
    c07 "a.b", c08 public.text, c09 "Other"."integer", c10 pg_catalog.text, c11 email,
    c12 work_email, c13 must, c14 "Other".must, c15 "MUST", c16 over_must, c17 amount,
    c18 amount DEFAULT 2, c19 amounts, c20 feeling, c21 spot, c22 span, c23 spans, c24 doc,
    c25 houses, c26 mood[], c27 "Mood"[][], c28 public.text[], c29 extensions.citext, c30 hstore,
    c31 ltree, c32 isbn13, c33 cube, c34 must[], c35 "list[]"[], c36 houses[],
    c37 amount DEFAULT NULL, c38 information_schema.yes_or_no,
    c39 couple, c40 over_couple, c41 garden, c42 couple[]
);
CREATE VIEW v AS SELECT c13, c17, c20 FROM t;
"""
OWN_COLUMNS = {
    "c01": ("mood", "string", True, None),
    "c02": ('"Mood"', "object", True, None),
    "c03": ('"Other".mood', "object", True, None),
    "c04": ('"Other"."MOOD"', "object", True, None),
    "c05": ('"od(d"', "string", True, None),
    "c06": ('"list[]"', "string", True, None),
    "c07": ('"a.b"', "string", True, None),
    "c08": ("public.text", "string", True, None),
    "c09": ('"Other"."integer"', "string", True, None),
    "c10": ("text", "string", True, None),
    "c11": ("email", "string", True, None),
    "c12": ("work_email", "string", True, None),
    "c13": ("must", "string", False, None),
    "c14": ('"Other".must', "integer", True, "7"),
    "c15": ('"MUST"', "date", True, None),
    "c16": ("over_must", "string", False, None),
    "c17": ("amount", "decimal", False, "1.5"),
    "c18": ("amount", "decimal", False, "2"),
    "c19": ("amounts", "array", True, None),
    "c20": ("feeling", "string", True, None),
    "c21": ("spot", "object", True, None),
    "c22": ("span", "object", True, None),
    "c23": ("spans", "array", True, None),
    "c24": ("doc", "json", True, None),
    "c25": ("houses", "object", True, None),
    "c26": ("mood[]", "array", True, None),
    "c27": ('"Mood"[]', "array", True, None),
    "c28": ("public.text[]", "array", True, None),
    "c29": ("extensions.citext", "string", True, None),
    "c30": ("hstore", "object", True, None),
    "c31": ("ltree", "string", True, None),
    "c32": ("isbn13", "string", True, None),
    "c33": ("cube", "other", True, None),
    "c34": ("must[]", "array", True, None),
    "c35": ('"list[]"[]', "array", True, None),
    "c36": ("houses[]", "array", True, None),
    "c37": ("amount", "decimal", False, "NULL::numeric"),
    "c38": ("information_schema.yes_or_no", "string", True, None),
    # No column has the composite type below these domains.
    "c39": ("couple", "object", True, None),
    "c40": ("over_couple", "object", False, None),
    "c41": ("garden", "object", True, None),
    "c42": ("couple[]", "array", True, None),
}


class TypeTests:
    """Tests of the types of a server."""

    server_class: type[PostgreSQLServer]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.server_class())
        cls.server.execute(OWN, DATABASE)

    def connect(self):
        connection = psycopg.connect(self.server.uri, dbname=DATABASE, autocommit=True)
        self.addCleanup(connection.close)
        return connection

    def columns(self, table):
        found = tables_in(read_postgresql(self.server.port, schema_name="public"))[table]
        return {column["name"]: column for column in found["columns"]}

    def test_every_built_in_type_has_a_common_type_or_is_named_here(self):
        connection = self.connect()
        connection.execute("CREATE SCHEMA types")
        self.addCleanup(connection.execute, "DROP SCHEMA types CASCADE")
        names = connection.execute(
            "SELECT typname FROM pg_type WHERE oid < 10000 AND typarray <> 0 AND typtype <> 'c'"
        ).fetchall()
        self.assertGreater(len(names), 70)
        made = set()
        for [name] in names:
            table = SQL("CREATE TABLE types.{0} (one pg_catalog.{0}, many pg_catalog.{0}[])")
            try:
                connection.execute(table.format(Identifier(name)))
                made.add(name)
            except psycopg.errors.InvalidTableDefinition:  # for functions only
                self.assertIn(name, PSEUDO)
        tables = tables_in(read_postgresql(self.server.port, schema_name="types"))
        self.assertEqual({*tables}, {f"types.{name}" for name in made})
        others = set()
        for name in made:
            one, many = tables[f"types.{name}"]["columns"]
            self.assertEqual(many["common_type"], "array", name)
            if one["common_type"] == "other":
                others.add(name)
        self.assertEqual(others, OTHER & made)

    def test_built_in_types_with_and_without_arguments_have_their_common_types(self):
        connection = self.connect()
        types = [
            (common_type, spelled)
            for common_type, names in BUILT_IN.items()
            for spelled in names.split()
        ]
        types += [("interval", f"interval {fields}") for fields in FIELDS]
        columns = ", ".join(
            f"c{number} {'pg_catalog.' * (spelled in ('text', 'name'))}{spelled}"
            for number, (_, spelled) in enumerate(types)
        )
        connection.execute(f"CREATE TABLE arguments ({columns})")
        self.addCleanup(connection.execute, "DROP TABLE arguments")
        found = self.columns("arguments")
        for number, (common_type, spelled) in enumerate(types):
            with self.subTest(spelled):
                self.assertEqual(found[f"c{number}"]["common_type"], common_type)

    def test_types_that_people_make_are_resolved_to_the_end(self):
        found = {
            name: (
                column["type"],
                column["common_type"],
                column["nullable"],
                column["default_value"],
            )
            for name, column in self.columns("t").items()
        }
        self.assertEqual(found, OWN_COLUMNS)
        for column in self.columns("t").values():
            self.assertEqual(column["has_default"], column["default_value"] is not None)
        view = self.columns("v")
        self.assertEqual(
            [column["common_type"] for column in view.values()], ["string", "decimal", "string"]
        )

    def test_columns_of_the_system_catalogue_have_common_types(self):
        tables = tables_in(read_postgresql(self.server.port, schema_name="pg_catalog"))
        others = {
            column["type"]
            for table in tables.values()
            for column in table["columns"]
            if column["common_type"] == "other"
        }
        self.assertEqual(others - OTHER, set())


class PostgreSQLTypeTests(TypeTests, SimpleTestCase):
    """PostgreSQL 18."""

    server_class = PostgreSQLServer


class OlderPostgreSQLTypeTests(TypeTests, SimpleTestCase):
    """PostgreSQL 15."""

    server_class = OlderPostgreSQLServer
