"""Tests of whole definitions and broken objects in SQLite files."""

import sqlite3
from contextlib import closing

from datasources.connections.failures import Code
from datasources.connections.testing.files import FilesTestCase
from datasources.schemas.reading.readers import READERS
from datasources.schemas.reading.testing import changed_members, columns_of, digest_of, tables_of

# Definitions of the table `t` before and after a change, and the members that show the change.
INDEX_PAIRS = {
    "condition": (
        "UNIQUE INDEX i ON t (a)",
        "UNIQUE INDEX i ON t (a) WHERE b IS NULL",
        "predicate",
    ),
    "other condition": ("INDEX i ON t (a) WHERE b > 1", "INDEX i ON t(a) where b > 2", "predicate"),
    "text of a condition": (
        "INDEX i ON t (a) WHERE b <> ') WHERE ('",
        "INDEX i ON t (a) WHERE b <> ') where ('",
        "predicate",
    ),
    "expression": ("INDEX i ON t (lower(a))", "INDEX i ON t (upper(a))", "columns"),
    "part of an expression": (
        "INDEX i ON t (b, coalesce(a, ',', \"b\") COLLATE nocase DESC, a)",
        "INDEX i ON t (b, coalesce(a, ';', \"b\") COLLATE nocase DESC, a)",
        "columns",
    ),
    "commented expression": (
        "INDEX i ON t (a -- not (b,\n || /* , */ 'x')",
        "INDEX i ON t (a -- not (b,\n || /* , */ 'y')",
        "columns",
    ),
    "order": ("INDEX i ON t (a, b)", "INDEX i ON t (b, a)", "columns"),
    "direction": ("INDEX i ON t (a, b)", "INDEX i ON t (a, b DESC)", "column_options"),
    "collation": ("INDEX i ON t (a)", "INDEX i ON t (a COLLATE rtrim)", "column_options"),
    "direction of an expression": (
        "INDEX i ON t (lower(a))",
        "INDEX i ON t (lower(a) DESC)",
        "column_options",
    ),
    "uniqueness": ("INDEX i ON t (a)", "UNIQUE INDEX i ON t (a)", "is_unique"),
}
TABLE_PAIRS = {
    "collation of a unique column": (
        "a TEXT UNIQUE",
        "a TEXT COLLATE nocase UNIQUE",
        "column_options",
    ),
    "key order": ("a, b, PRIMARY KEY (a, b)", "a, b, PRIMARY KEY (b, a)", "columns"),
    "key direction": ("a, b, PRIMARY KEY (a, b)", "a, b, PRIMARY KEY (a DESC, b)", "options"),
    "key collation": ("a TEXT PRIMARY KEY", "a TEXT COLLATE nocase PRIMARY KEY", "options"),
    "AUTOINCREMENT": (
        "a INTEGER PRIMARY KEY",
        "a INTEGER PRIMARY KEY AUTOINCREMENT",
        "options",
    ),
    "on delete": ("a REFERENCES u", "a REFERENCES u ON DELETE CASCADE", "on_delete"),
    "on update": (
        "a REFERENCES u ON UPDATE SET NULL",
        "a REFERENCES u ON UPDATE SET DEFAULT",
        "on_update",
    ),
    "restrict": ("a REFERENCES u", "a REFERENCES u ON DELETE RESTRICT", "on_delete"),
    "deferred": (
        "a CHECK (a > (1)) REFERENCES u NOT DEFERRABLE, b REFERENCES v DEFERRABLE",
        "a CHECK (a > (1)) REFERENCES u DEFERRABLE INITIALLY DEFERRED, b REFERENCES v DEFERRABLE",
        "options",
    ),
    "deferred key of a table": (
        "a, b REFERENCES v, FOREIGN KEY (a) REFERENCES u (id) MATCH FULL ON DELETE SET NULL",
        "a, b REFERENCES v, FOREIGN KEY (a) REFERENCES u (id) MATCH FULL ON DELETE SET NULL "
        "DEFERRABLE INITIALLY DEFERRED",
        "options",
    ),
    "referred column": ("a REFERENCES u (id)", "a REFERENCES u (other)", "referred_columns"),
    "default": ("a DEFAULT 1", "a DEFAULT 2", "default_value"),
    "text of a default": ("a DEFAULT 'x'", "a DEFAULT 'X'", "default_value"),
    "default expression": ("a DEFAULT (1 + 2)", "a DEFAULT (random())", "default_value"),
    "generated": ("a, b AS (a + 1)", "a, b AS (a + 2)", "default_value"),
    "generated and stored": (
        'a, "b ""c" INT NOT NULL GENERATED ALWAYS AS (a || \'),\') VIRTUAL',
        'a, "b ""c" INT NOT NULL GENERATED ALWAYS AS (a || \'),\') STORED',
        "default_value",
    ),
}
BROKEN = {
    "bad_function": "CREATE VIEW bad_function AS SELECT their_function(a) FROM plain",
    "bad_table": "CREATE VIEW bad_table AS SELECT * FROM missing",
    "bad_column": "CREATE VIEW bad_column AS SELECT missing FROM plain",
    "circle": "CREATE VIEW circle AS SELECT * FROM circle",
    "of_other": "CREATE VIEW of_other AS SELECT * FROM other.t",
    "vectors": "CREATE VIRTUAL TABLE vectors USING vec0(a float[3])",
    "spatial": 'CREATE VIRTUAL TABLE spatial /* USING x */ USING\n"VirtualSpatialIndex"()',
    "words": "CREATE VIRTUAL TABLE words USING fts5(a, tokenize = theirs)",
}
MALFORMED = {
    "cut": ("table", "cut", "CREATE TABLE cut (a"),
    "no_sql": ("view", "no_sql", "CREATE VIEW no_sql AS SELEC"),
    "cut_index": ("index", "plain", "CREATE INDEX cut_index ON plain (nowhere)"),
    "cut_trigger": ("trigger", "plain", "CREATE TRIGGER cut_trigger AFTER"),
}
GEOPACKAGE = """
PRAGMA application_id = 0x47504B47;
PRAGMA user_version = 10300;
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL,
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), min_x DOUBLE,
    srs_id INTEGER,
    CONSTRAINT fk_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
CREATE TABLE rivers (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom MULTIPOINT, name TEXT(50),
    width MEDIUMINT);
CREATE VIRTUAL TABLE rtree_rivers_geom USING rtree(id, minx, maxx, miny, maxy);
CREATE TRIGGER rtree_rivers_geom_insert AFTER INSERT ON rivers
WHEN (new.geom NOT NULL AND NOT ST_IsEmpty(NEW.geom)) BEGIN
    INSERT OR REPLACE INTO rtree_rivers_geom VALUES (NEW.fid, ST_MinX(NEW.geom), 1, 1, 1);
END;
"""
TYPES = {
    "INT": "integer",
    "INTEGER": "integer",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "MEDIUMINT": "integer",
    "BIGINT": "integer",
    "UNSIGNED BIG INT": "integer",
    "INT2": "integer",
    "INT8": "integer",
    "INTEGER(10)": "integer",
    "CHARACTER(20)": "string",
    "VARCHAR(255)": "string",
    "VARYING CHARACTER(255)": "string",
    "NCHAR(55)": "string",
    "NATIVE CHARACTER(70)": "string",
    "NVARCHAR(100)": "string",
    "TEXT": "string",
    "TEXT(50)": "string",
    "STRING": "string",
    "CLOB": "string",
    "BLOB": "binary",
    "BLOB(9)": "binary",
    "VARBINARY(16)": "binary",
    "REAL": "float",
    "DOUBLE": "float",
    "DOUBLE PRECISION": "float",
    "DOUBLE UNSIGNED": "float",
    "FLOAT": "float",
    "FLOAT(7,2)": "float",
    "NUMERIC": "decimal",
    "NUMERIC(10, 2)": "decimal",
    "NUMBER(5)": "decimal",
    "DECIMAL(10,5)": "decimal",
    "MONEY": "decimal",
    "BOOLEAN": "boolean",
    "BOOL": "boolean",
    "DATE": "date",
    "DATETIME": "timestamp",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp_tz",
    "TIME": "time",
    "JSON": "json",
    "JSONB": "json",
    "UUID": "uuid",
    "GUID": "uuid",
    # No type, the type of anything, and those of geometries.
    "": "other",
    "ANY": "other",
    "GEOMETRY": "other",
    "POINT": "other",
    "POINTZ": "other",
    "MULTIPOINT": "other",
}

NULLABLE = (
    *("(a INTEGER PRIMARY KEY, b)", "(a INTEGER PRIMARY KEY DESC, b)", "(a INT PRIMARY KEY, b)"),
    *("(a TEXT PRIMARY KEY, b NOT NULL)", "(a TEXT NOT NULL PRIMARY KEY, b UNIQUE)"),
    *("(a, b, PRIMARY KEY (a, b))", "(a INTEGER, b, PRIMARY KEY (a))"),
    *("(a TEXT, b, PRIMARY KEY (b, a)) WITHOUT ROWID", "(a TEXT PRIMARY KEY, b INT) STRICT"),
    *("(a INTEGER PRIMARY KEY, b ANY) STRICT", "(a INTEGER PRIMARY KEY, b) WITHOUT ROWID"),
)


class SQLiteTestCase(FilesTestCase):
    maxDiff = None

    def write(self, *statements):
        path = self.root / "sqlite"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def write_definitions(self, rows):
        """Append (type, name, table, text) to the schema, which SQLite would not accept."""
        connection = sqlite3.connect(self.root / "sqlite")
        connection.execute("PRAGMA writable_schema = ON")
        for row in rows:
            connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, 0, ?)", row)
        connection.commit()
        connection.close()

    def read(self):
        connector = self.connector("sqlite")
        connection = connector.connect()
        self.addCleanup(connection.close)
        return tables_of(connection, connector.configuration)


class DefinitionTests(SQLiteTestCase):
    OTHERS = ("CREATE TABLE u (id INTEGER PRIMARY KEY, other UNIQUE)", "CREATE TABLE v (id)")

    def assert_noticed(self, before, after, members):
        states = []
        for statements in (before, after, after):
            self.write(*self.OTHERS, *statements)
            states.append(self.read())
        self.assertEqual(digest_of(states[1]), digest_of(states[2]))
        found = changed_members(states[0]["t"], states[1]["t"])
        self.assertEqual({member for _, _, member in found}, {members})
        self.assertEqual(len(found), 1)

    def test_each_difference_of_two_indexes_is_noticed(self):
        table = "CREATE TABLE t (a TEXT, b)"
        for name, (before, after, member) in INDEX_PAIRS.items():
            with self.subTest(name):
                statements = [[table, f"CREATE {text}"] for text in (before, after)]
                self.assert_noticed(*statements, member)

    def test_each_difference_of_two_tables_is_noticed(self):
        for name, (before, after, member) in TABLE_PAIRS.items():
            with self.subTest(name):
                statements = [[f"CREATE TABLE t ({text})"] for text in (before, after)]
                self.assert_noticed(*statements, member)

    def test_table_without_rowid_is_told_apart(self):
        table = "CREATE TABLE t (a INT NOT NULL PRIMARY KEY, b)"
        self.assert_noticed([table], [f"{table} WITHOUT ROWID"], "options")

    def test_column_is_nullable_if_sqlite_stores_nulls_in_it(self):
        """SQLite stores nulls in most columns of primary keys."""
        for definition in NULLABLE:
            with self.subTest(definition):
                self.write(f"CREATE TABLE t {definition}")
                [table] = self.read().values()
                with closing(sqlite3.connect(self.root / "sqlite")) as connection:
                    for column in table["columns"]:
                        values = ["NULL" if name == column["name"] else 1 for name in "ab"]
                        insert = f"INSERT INTO t VALUES ({values[0]}, {values[1]})"
                        try:
                            row = connection.execute(f"{insert} RETURNING {column['name']}")
                            is_stored = row.fetchone() == (None,)
                        except sqlite3.IntegrityError:
                            is_stored = False
                        connection.rollback()
                        self.assertEqual(column["nullable"], is_stored, column["name"])

    def test_index_that_is_made_of_what_was_read_is_the_same(self):
        table = "CREATE TABLE t (a TEXT, b)"
        for name, (_, text, _) in INDEX_PAIRS.items():
            with self.subTest(name):
                self.write(table, f"CREATE {text}")
                [read] = self.read()["t"]["indexes"]
                parts = zip(read["columns"], read["column_options"], strict=True)
                listed = ", ".join(f"{column}\n{option}" for column, option in parts)
                unique = "UNIQUE" if read["is_unique"] else ""
                where = f"WHERE {read['predicate']}" if read["predicate"] else ""
                self.write(table, f"CREATE {unique} INDEX i ON t ({listed}) {where}")
                [made] = self.read()["t"]["indexes"]
                self.assertEqual(made, read)

    def test_names_in_any_quotes_do_not_confuse_the_reader(self):
        self.write(
            'CREATE TABLE "t (a, \'b\' WHERE" ([x AS (] INT, `y,` AS ("x AS (" + 1),'
            ' CONSTRAINT "k REFERENCES" CHECK ([x AS (] > 0))',
            'CREATE INDEX [i ON (] ON "t (a, \'b\' WHERE" (`y,`, [x AS (] + 1) WHERE "y,"',
        )
        [table] = self.read().values()
        self.assertEqual(
            table["columns"][1]["default_value"], 'GENERATED ALWAYS AS ("x AS (" + 1) VIRTUAL'
        )
        [index] = table["indexes"]
        self.assertEqual(index["columns"], ["y,", "[x AS (] + 1"])
        self.assertEqual(index["predicate"], '"y,"')


class BrokenObjectTests(SQLiteTestCase):
    def test_broken_objects_say_why_they_have_no_columns(self):
        self.write("CREATE TABLE plain (a INT)", "CREATE VIEW fine AS SELECT a FROM plain")
        self.write_definitions(
            ("view" if "VIEW" in text else "table", name, name, text)
            for name, text in BROKEN.items()
        )
        tables = self.read()
        self.assertEqual({*tables}, {"plain", "fine", *BROKEN})
        for name in BROKEN:
            with self.subTest(name):
                self.assertEqual(tables[name]["columns"], [])
                self.assertTrue(tables[name]["problem"].endswith("."))
        self.assertIn("module vec0", tables["vectors"]["problem"])
        self.assertIn("module VirtualSpatialIndex", tables["spatial"]["problem"])
        self.assertIn("module fts5", tables["words"]["problem"])
        for name in ("plain", "fine"):
            self.assertEqual([*columns_of(tables[name])], ["a"])
            self.assertIsNone(tables[name]["problem"])

    def test_malformed_definitions_do_not_cost_the_others(self):
        self.write("CREATE TABLE plain (a INT)", "CREATE TABLE later (b INT)")
        self.write_definitions(
            (kind, name, table, text) for name, (kind, table, text) in MALFORMED.items()
        )
        with self.assertRaises(sqlite3.DatabaseError):
            sqlite3.connect(self.root / "sqlite").execute("SELECT * FROM plain")
        tables = self.read()
        self.assertEqual([*columns_of(tables["plain"])], ["a"])
        self.assertEqual([*columns_of(tables["later"])], ["b"])
        problems = {name for name, table in tables.items() if table["problem"]}
        self.assertEqual(problems, {"cut", "no_sql"})
        self.assertEqual({*tables}, {"plain", "later", "cut", "no_sql"})
        self.assertEqual(self.try_out("sqlite")[0], Code.OK)

    def test_malformed_definition_whose_name_is_not_utf_8_does_not_cost_the_others(self):
        self.write("CREATE TABLE plain (a INT)", "CREATE TABLE cafe (b INT)")
        path = self.root / "sqlite"
        content = path.read_bytes().replace(b"cafe", b"caf\xe9")
        path.write_bytes(content.replace(b"b INT)", b"b INT("))
        self.assertEqual(self.try_out("sqlite")[0], Code.OK)
        tables = self.read()
        self.assertEqual([*columns_of(tables["plain"])], ["a"])

    def test_file_with_malformed_definitions_stays_unchanged(self):
        self.write("CREATE TABLE plain (a INT)")
        self.write_definitions([("table", "cut", "cut", "CREATE TABLE cut (a")])
        before = (self.root / "sqlite").read_bytes()
        connection = self.connect("sqlite")
        for statement in (
            "INSERT INTO plain VALUES (1)",
            "DELETE FROM sqlite_schema",
            "UPDATE sqlite_schema SET sql = ''",
            "PRAGMA writable_schema = OFF",
            "PRAGMA query_only = OFF",
        ):
            with self.subTest(statement), self.assertRaises(sqlite3.Error):
                connection.execute(statement)
        self.assertEqual((self.root / "sqlite").read_bytes(), before)

    def test_definitions_that_call_functions_are_read(self):
        self.write(
            "CREATE TABLE t (doc TEXT CHECK (json_valid(doc)), at TEXT DEFAULT (json_array()),"
            " name AS (json_extract(doc, '$.name')), day AS (date(at)))",
            "CREATE INDEX i ON t (json_extract(doc, '$.id'), doc ->> 'name')",
            "CREATE VIEW v AS SELECT doc -> 'id' AS id, key FROM t, json_each(doc)",
        )
        tables = self.read()
        self.assertEqual([*columns_of(tables["t"])], ["doc", "at", "name", "day"])
        self.assertEqual([index["name"] for index in tables["t"]["indexes"]], ["i"])
        self.assertEqual([*columns_of(tables["v"])], ["id", "key"])
        self.assertEqual({table["problem"] for table in tables.values()}, {None})
        self.assertEqual(self.connect("sqlite").execute("SELECT * FROM v").fetchall(), [])

    def test_definitions_cannot_call_functions_with_side_effects(self):
        self.write(
            "CREATE VIEW loading AS SELECT load_extension('x')",
            "CREATE VIEW splitting AS SELECT fts3_tokenizer('simple')",
        )
        connection = self.connect("sqlite")
        for name in ("loading", "splitting"):
            with self.subTest(name), self.assertRaises(sqlite3.DatabaseError):
                connection.execute(f"SELECT * FROM {name}")

    def test_geopackage_is_read_whole(self):
        self.write("SELECT 1")
        connection = sqlite3.connect(self.root / "sqlite")
        connection.executescript(GEOPACKAGE)
        connection.close()
        tables = self.read()
        self.assertEqual(
            {*tables}, {"gpkg_spatial_ref_sys", "gpkg_contents", "rivers", "rtree_rivers_geom"}
        )
        self.assertEqual({table["problem"] for table in tables.values()}, {None})
        self.assertEqual(
            [*columns_of(tables["rtree_rivers_geom"])], ["id", "minx", "maxx", "miny", "maxy"]
        )
        self.assertEqual(columns_of(tables["rivers"])["geom"], ("MULTIPOINT", "other", True, False))
        self.assertEqual(tables["rivers"]["primary_key"]["options"], "AUTOINCREMENT")
        self.assertEqual(self.try_out("sqlite")[0], Code.OK)

    def test_every_module_of_sqlite_may_open_its_tables(self):
        modules = {
            "fts3": "line",
            "fts4": "line",
            "fts5": "line",
            "rtree": "id, a, b",
            "rtree_i32": "id, a, b",
        }
        self.write(
            *(f"CREATE VIRTUAL TABLE {name}_t USING {name}({of})" for name, of in modules.items()),
            "CREATE VIRTUAL TABLE vocabulary USING fts5vocab(fts5_t, row)",
            "CREATE VIRTUAL TABLE terms USING fts4aux(fts4_t)",
        )
        tables = self.read()
        self.assertEqual({*tables}, {f"{name}_t" for name in modules} | {"vocabulary", "terms"})
        for name, table in tables.items():
            with self.subTest(name):
                self.assertIsNone(table["problem"])
                self.assertTrue(table["columns"])

    def test_indexes_and_columns_with_unknown_functions_and_collations_are_read(self):
        connection = sqlite3.connect(self.root / "sqlite")
        connection.create_function("theirs", 1, str, deterministic=True)
        connection.create_collation("theirs", lambda one, other: 0)
        connection.execute("CREATE TABLE plain (a, b TEXT COLLATE theirs, c AS (theirs(a)))")
        connection.execute("CREATE INDEX i ON plain (theirs(a), b)")
        connection.commit()
        connection.close()
        table = self.read()["plain"]
        self.assertEqual([*columns_of(table)], ["a", "b", "c"])
        [index] = table["indexes"]
        self.assertEqual(index["columns"], ["theirs(a)", "b"])
        self.assertEqual(index["column_options"], ["", "COLLATE theirs"])

    def test_name_that_is_not_utf_8_is_shown_with_a_replacement(self):
        self.write(
            "CREATE TABLE caf_ (a INT PRIMARY KEY DESC REFERENCES plain)",
            "CREATE TABLE plain (n_m INT)",
            "CREATE INDEX caf_i ON plain (n_m)",
            "CREATE INDEX i ON plain (n_m)",
        )
        path = self.root / "sqlite"
        path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\xe9").replace(b"n_m", b"n\xe9m"))
        tables = self.read()
        self.assertEqual({*tables}, {"caf\ufffd", "plain"})
        self.assertEqual([*columns_of(tables["plain"])], ["n\ufffdm"])
        [index] = tables["plain"]["indexes"]
        self.assertEqual(index["columns"], ["n\ufffdm"])
        self.assertIn("UTF-8", tables["caf\ufffd"]["problem"])

    def test_encoding_of_the_file_does_not_change_what_is_read(self):
        statements = ("CREATE TABLE Ä (ö TEXT DEFAULT 'ü')", "CREATE INDEX ß ON Ä (ö || 'é')")
        digests = set()
        for encoding in ("UTF-8", "UTF-16le", "UTF-16be"):
            self.write(f"PRAGMA encoding = '{encoding}'", *statements)
            digests.add(digest_of(self.read()))
        self.assertEqual(len(digests), 1)

    def test_statement_that_times_out_is_no_problem_of_a_view(self):
        self.write("CREATE VIEW v AS SELECT 1 AS a")
        connector = self.connector("sqlite")
        connection = connector.connect()
        self.addCleanup(connection.close)
        reader = READERS["sqlite"](connection, connector.configuration)
        [*reader.relations()]
        connection.set_progress_handler(lambda: True, 1)
        with self.assertRaises(sqlite3.OperationalError):
            reader._columns_of("v", "view")


class TypeTests(SQLiteTestCase):
    def test_usual_types_have_their_common_types(self):
        columns = ", ".join(f"c{number} {name}" for number, name in enumerate(TYPES))
        self.write(f"CREATE TABLE t ({columns})", "CREATE TABLE s (a ANY, b INT) STRICT")
        tables = self.read()
        found = columns_of(tables["t"]).values()
        for (name, common_type), column in zip(TYPES.items(), found, strict=True):
            with self.subTest(name):
                self.assertEqual(column[:2], (name, common_type))
        self.assertEqual(columns_of(tables["s"])["b"][:2], ("INT", "integer"))
