"""Tests of whole definitions, broken views and types in DuckDB files."""

import duckdb

from datasources.connections.testing.files import FilesTestCase
from datasources.schemas.reading.testing import changed_members, columns_of, digest_of, tables_of

# Definitions of the table `t` before and after a change, and the member that shows the change.
PAIRS = {
    "expression": (
        "(a INT, b INT); CREATE INDEX i ON t ((a + b))",
        "(a INT, b INT); CREATE INDEX i ON t ((a - b))",
        "columns",
    ),
    "literal in an expression": (
        "(a VARCHAR, b INT); CREATE INDEX i ON t ((a || ',''x'), b)",
        "(a VARCHAR, b INT); CREATE INDEX i ON t ((a || ',''y'), b)",
        "columns",
    ),
    "order": (
        "(a INT, b INT); CREATE INDEX i ON t (a, b)",
        "(a INT, b INT); CREATE INDEX i ON t (b, a)",
        "columns",
    ),
    "uniqueness": (
        "(a INT); CREATE INDEX i ON t (a)",
        "(a INT); CREATE UNIQUE INDEX i ON t (a)",
        "is_unique",
    ),
    "columns of a unique constraint": (
        "(a_b INT, a INT, b INT, UNIQUE (a_b))",
        "(a_b INT, a INT, b INT, UNIQUE (a, b))",
        "columns column_options",
    ),
    "default": ("(a INT DEFAULT 1)", "(a INT DEFAULT 2)", "default_value"),
    "text of a default": (
        "(a VARCHAR DEFAULT 'f()')",
        "(a VARCHAR DEFAULT 'F()')",
        "default_value",
    ),
    "sequence": ("(a INT DEFAULT nextval('r'))", "(a INT DEFAULT nextval('s'))", "default_value"),
    "generated": ("(a INT, b INT AS (a + 1))", "(a INT, b INT AS (a + 2))", "default_value"),
    "generated or filled in": (
        "(a INT, b INT AS (2))",
        "(a INT, b INT DEFAULT (2))",
        "default_value",
    ),
    "referred column": (
        "(a INT, b INT REFERENCES u (id))",
        "(a INT, b INT REFERENCES u (other))",
        "added removed",  # DuckDB names a key after its columns
    ),
}
KINDS = """
CREATE TABLE plain (a INT PRIMARY KEY, "b ""c" INT, "d,e" INT);
CREATE INDEX by_odd ON plain ("b ""c", "d,e");
CREATE TABLE twice (a_b INT, a INT, b INT, UNIQUE (a_b), UNIQUE (a, b), UNIQUE (a, b));
CREATE INDEX twice_a_b_key ON twice (b);
CREATE TABLE keys (a INT REFERENCES plain (a), b INT, FOREIGN KEY (a) REFERENCES plain (a));
CREATE SCHEMA other;
CREATE TABLE other.plain (z INT PRIMARY KEY);
CREATE TABLE other.of_other (z INT REFERENCES other.plain (z));
CREATE SEQUENCE numbers;
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TYPE text_of_ours AS VARCHAR;
CREATE TABLE typed (m mood, t text_of_ours, u mood[]);
CREATE MACRO plus(x) AS x + 1;
CREATE MACRO rows_of() AS TABLE SELECT 1 AS a;
CREATE VIEW of_macro AS SELECT plus(a) AS b FROM plain;
CREATE VIEW of_rows AS FROM rows_of();
CREATE TABLE gone (a INT);
CREATE VIEW of_gone AS SELECT a FROM gone;
CREATE VIEW changed AS FROM twice;
DROP TABLE gone;
DROP MACRO plus;
DROP MACRO TABLE rows_of;
"""
# Each logical type of `duckdb_types()`, as it is spelled, with its common type.
TYPES = {
    "ARRAY": ("INTEGER[3]", "array"),
    "BIGINT": ("BIGINT", "integer"),
    "BIGNUM": ("BIGNUM", "integer"),
    "BIT": ("BIT", "binary"),
    "BLOB": ("BLOB", "binary"),
    "BOOLEAN": ("BOOLEAN", "boolean"),
    "DATE": ("DATE", "date"),
    "DECIMAL": ("DECIMAL(18,3)", "decimal"),
    "DOUBLE": ("DOUBLE", "float"),
    "ENUM": ("ENUM('a', 'b (c]')", "string"),
    "FLOAT": ("FLOAT", "float"),
    "GEOMETRY": ("GEOMETRY", "other"),
    "HUGEINT": ("HUGEINT", "integer"),
    "INTEGER": ("INTEGER", "integer"),
    "INTERVAL": ("INTERVAL", "interval"),
    "LIST": ("VARCHAR[]", "array"),
    "MAP": ("MAP(VARCHAR, INTEGER[])", "object"),
    "NULL": ('"NULL"', "other"),
    "SMALLINT": ("SMALLINT", "integer"),
    "STRUCT": ('STRUCT("a )" INTEGER, b VARCHAR[])', "object"),
    "TIME": ("TIME", "time"),
    "TIME WITH TIME ZONE": ("TIME WITH TIME ZONE", "time"),
    "TIMESTAMP": ("TIMESTAMP", "timestamp"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP WITH TIME ZONE", "timestamp_tz"),
    "TIMESTAMPTZ_NS": ("TIMESTAMPTZ_NS", "timestamp_tz"),
    "TIMESTAMP_MS": ("TIMESTAMP_MS", "timestamp"),
    "TIMESTAMP_NS": ("TIMESTAMP_NS", "timestamp"),
    "TIMESTAMP_S": ("TIMESTAMP_S", "timestamp"),
    "TIME_NS": ("TIME_NS", "time"),
    "TINYINT": ("TINYINT", "integer"),
    "UBIGINT": ("UBIGINT", "integer"),
    "UHUGEINT": ("UHUGEINT", "integer"),
    "UINTEGER": ("UINTEGER", "integer"),
    "UNION": ("UNION(a INTEGER, b VARCHAR)", "other"),
    "USMALLINT": ("USMALLINT", "integer"),
    "UTINYINT": ("UTINYINT", "integer"),
    "UUID": ("UUID", "uuid"),
    "VARCHAR": ("VARCHAR", "string"),
    "VARIANT": ("VARIANT", "json"),
}
OF_NO_COLUMN = {"TUPLE", "TYPE"}
"""Logical types that a column cannot have."""


class DuckDBTestCase(FilesTestCase):
    maxDiff = None

    def write(self, script):
        (self.root / "duckdb").unlink(missing_ok=True)
        with duckdb.connect(self.root / "duckdb") as connection:
            connection.execute(script)

    def read(self, **fields):
        connector = self.connector("duckdb", **fields)
        connection = connector.connect()
        self.addCleanup(connection.close)
        return tables_of(connection, connector.configuration)


class DefinitionTests(DuckDBTestCase):
    def test_each_difference_of_two_definitions_is_noticed(self):
        others = "CREATE TABLE u (id INT PRIMARY KEY, other INT UNIQUE); CREATE SEQUENCE r; "
        others += "CREATE SEQUENCE s; CREATE TABLE t "
        for name, (before, after, members) in PAIRS.items():
            with self.subTest(name):
                states = []
                for script in (before, after, after):
                    self.write(others + script)
                    states.append(self.read())
                self.assertEqual(digest_of(states[1]), digest_of(states[2]))
                found = changed_members(states[0]["t"], states[1]["t"])
                self.assertEqual({member for _, _, member in found}, {*members.split()})
                self.assertEqual(len({kind for kind, _, _ in found}), 1)

    def test_indexes_and_defaults_are_spelled_as_duckdb_spells_the_definition(self):
        for name, (_, script, _) in PAIRS.items():
            if "REFERENCES" in script or "nextval" in script:
                continue
            with self.subTest(name):
                self.write(f"CREATE TABLE t {script}")
                [table] = self.read().values()
                with duckdb.connect(self.root / "duckdb") as connection:
                    texts = connection.execute(
                        "SELECT sql FROM duckdb_indexes() UNION ALL SELECT sql FROM duckdb_tables()"
                    ).fetchall()
                text = " ".join(text for (text,) in texts)
                for index in table["indexes"]:
                    self.assertIn(f"({', '.join(index['columns'])})", text)
                for column in table["columns"]:
                    if not (column["default_value"] or "").startswith("GENERATED"):
                        self.assertIn(column["default_value"] or "", text)

    def test_every_kind_of_table_and_view_is_read(self):
        self.write(KINDS)
        tables = self.read()
        views = {"of_macro", "of_rows", "of_gone", "changed"}
        names = {"plain", "twice", "keys", "other.plain", "other.of_other", "typed"}
        self.assertEqual({*tables}, names | views)
        self.assertEqual({table["problem"] for table in tables.values()}, {None})
        self.assertEqual([*columns_of(tables["of_gone"])], ["a"])
        self.assertEqual(tables["plain"]["indexes"][0]["columns"], ['b "c', "d,e"])
        [key] = tables["other.of_other"]["foreign_keys"]
        self.assertEqual((key["referred_schema"], key["referred_table"]), ("other", "plain"))
        self.assertEqual((key["on_update"], key["on_delete"]), ("no_action", "no_action"))
        self.assertEqual(
            [facts[:2] for facts in columns_of(tables["typed"]).values()],
            [
                ("ENUM('ok', 'bad')", "string"),
                ("VARCHAR", "string"),
                ("ENUM('ok', 'bad')[]", "array"),
            ],
        )

    def test_constraints_of_the_same_name_are_kept_apart(self):
        self.write(KINDS)
        tables = self.read()
        self.assertEqual(
            sorted((index["columns"], index["is_unique"]) for index in tables["twice"]["indexes"]),
            [(["a", "b"], True), (["a", "b"], True), (["a_b"], True), (["b"], False)],
        )
        self.assertEqual([key["columns"] for key in tables["keys"]["foreign_keys"]], [["a"], ["a"]])


class TypeTests(DuckDBTestCase):
    def test_every_logical_type_is_read_whole(self):
        rows = duckdb.execute("SELECT DISTINCT logical_type FROM duckdb_types()").fetchall()
        self.assertEqual({name for (name,) in rows}, {*TYPES} | OF_NO_COLUMN)
        columns = ", ".join(f'"{name}" {spelled}' for name, (spelled, _) in TYPES.items())
        self.write(f"CREATE TABLE t ({columns})")
        found = columns_of(self.read()["t"])
        for name, (spelled, common_type) in TYPES.items():
            with self.subTest(name):
                self.assertEqual(found[name][:2], (spelled, common_type))
