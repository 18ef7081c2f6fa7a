"""Tests of whole definitions, broken objects and hostile settings, on a live MariaDB."""

from contextlib import closing
from pathlib import Path

from django.test import SimpleTestCase

from datasources.connections.testing import mariadb
from datasources.connections.testing.mariadb import make_connector
from datasources.schemas.reading.testing import changed_members, columns_of, digest_of, tables_of

# Definitions of a table before and after a change, and what the change is shown as.
PAIRS = {
    "length of a prefix": ("a text, KEY i (a(10))", "a text, KEY i (a(20))", "column_options"),
    "prefix": ("a varchar(9), KEY i (a(5))", "a varchar(9), KEY i (a)", "column_options"),
    "direction": ("a int, KEY i (a)", "a int, KEY i (a DESC)", "column_options"),
    "order": ("a int, b int, KEY i (a, b)", "a int, b int, KEY i (b, a)", "columns"),
    "uniqueness": ("a int, KEY i (a)", "a int, UNIQUE i (a)", "is_unique"),
    "index comment": ("a int, KEY i (a)", "a int, KEY i (a) COMMENT 'it''s'", "options"),
    "ignored index": ("a int, KEY i (a)", "a int, KEY i (a) IGNORED", "options"),
    "full text": ("a char(9), KEY i (a)", "a char(9), FULLTEXT i (a)", "method"),
    "spatial": (
        "a point NOT NULL, SPATIAL i (a)",
        "a point NOT NULL, KEY i (a(32))",
        "method column_options",
    ),
    "hash": ("a text, UNIQUE i (a(9))", "a text, UNIQUE i (a)", "method column_options"),
    "overlaps": (
        "n int, s date, e date, PERIOD FOR p (s, e), UNIQUE i (n, e, s)",
        "n int, s date, e date, PERIOD FOR p (s, e), UNIQUE i (n, p WITHOUT OVERLAPS)",
        "options",
    ),
    "key prefix": ("a char(9), PRIMARY KEY (a)", "a char(9), PRIMARY KEY (a(4))", "options"),
    "key direction": ("a int, PRIMARY KEY (a)", "a int, PRIMARY KEY (a DESC)", "options"),
    "key order": (
        "a int, b int, PRIMARY KEY (a, b)",
        "a int, b int, PRIMARY KEY (b, a)",
        "columns",
    ),
    "key overlaps": (
        "n int, s date, e date, PERIOD FOR p (s, e), PRIMARY KEY (n, e, s)",
        "n int, s date, e date, PERIOD FOR p (s, e), PRIMARY KEY (n, p WITHOUT OVERLAPS)",
        "options",
    ),
    "on delete": (
        "a int, CONSTRAINT i FOREIGN KEY (a) REFERENCES top (id)",
        "a int, CONSTRAINT i FOREIGN KEY (a) REFERENCES top (id) ON DELETE SET NULL",
        "on_delete",
    ),
    "on update": (
        "a int, CONSTRAINT j FOREIGN KEY (a) REFERENCES top (id) ON UPDATE CASCADE",
        "a int, CONSTRAINT j FOREIGN KEY (a) REFERENCES top (id) ON UPDATE NO ACTION",
        "on_update",
    ),
    "referred column": (
        "a int, CONSTRAINT k FOREIGN KEY (a) REFERENCES top (id)",
        "a int, CONSTRAINT k FOREIGN KEY (a) REFERENCES top (other)",
        "referred_columns",
    ),
    "literal": ("a int DEFAULT 1", "a int DEFAULT 2", "default_value"),
    "text or number": ("a char(9) DEFAULT 'f()'", "a char(9) DEFAULT 'F()'", "default_value"),
    "expression": ("a int, b int DEFAULT (a + 1)", "a int, b int DEFAULT (a + 2)", "default_value"),
    "generated": ("a int, b int AS (a + 1)", "a int, b int AS (a + 2)", "default_value"),
    "stored": ("a int, b int AS (a) VIRTUAL", "a int, b int AS (a) STORED", "default_value"),
    "on update of a column": (
        "a datetime DEFAULT now()",
        "a datetime DEFAULT now() ON UPDATE now()",
        "default_value",
    ),
    "sequence": (
        "a int DEFAULT (NEXT VALUE FOR s)",
        "a int DEFAULT (NEXT VALUE FOR t)",
        "default_value",
    ),
    "auto_increment": (
        "a int NOT NULL DEFAULT 1, PRIMARY KEY (a)",
        "a int AUTO_INCREMENT, PRIMARY KEY (a)",
        "default_value",
    ),
}
KINDS = """
CREATE TABLE plain (a int PRIMARY KEY, b int) COMMENT 'all';
CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 4;
CREATE TABLE versioned (a int PRIMARY KEY) WITH SYSTEM VERSIONING;
CREATE TABLE shown (a int, s timestamp(6) AS ROW START, e timestamp(6) AS ROW END,
    PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING;
CREATE TABLE hidden (a int, b int INVISIBLE);
CREATE TABLE in_memory (a int, KEY (a)) ENGINE = MEMORY;
CREATE TABLE aria (a int) ENGINE = Aria;
CREATE TABLE isam (a int PRIMARY KEY) ENGINE = MyISAM COMMENT 'mine';
CREATE TABLE isam2 LIKE isam;
CREATE TABLE merged (a int) ENGINE = MERGE UNION = (isam);
CREATE TABLE `odd ``%s .name` (`a ``%s` int PRIMARY KEY);
CREATE SEQUENCE numbers;
CREATE TABLE gone (a int);
CREATE VIEW of_gone AS SELECT a FROM gone;
DROP TABLE gone;
CREATE FUNCTION f() RETURNS int RETURN 1;
CREATE VIEW of_function AS SELECT f() AS x;
DROP FUNCTION f;
CREATE DEFINER = nobody@'%' VIEW of_nobody AS SELECT a FROM plain;
CREATE VIEW working AS SELECT a FROM plain;
CREATE TABLE damaged (a int, PRIMARY KEY (a)) ENGINE = Aria COMMENT 'before';
CREATE TABLE crashed (a int, PRIMARY KEY (a)) ENGINE = MyISAM COMMENT 'before';
CREATE TABLE lost (a int PRIMARY KEY);
CREATE DATABASE other;
CREATE TABLE other.far (id int PRIMARY KEY);
CREATE TABLE away (a int, CONSTRAINT to_far FOREIGN KEY (a) REFERENCES other.far (id));
"""
# Values that a server sets for each session, each of which would change what is read.
HOSTILE = {
    "sql_select_limit": "2",
    "max_sort_length": "64",
    "sql_big_selects": "0",
    "max_join_size": "1",
    "sql_mode": "'ORACLE,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,EMPTY_STRING_IS_NULL,"
    "HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH'",
    "sql_quote_show_create": "0",
    "time_zone": "'+05:00'",
    "lc_messages": "'de_DE'",
    "lc_time_names": "'de_DE'",
    "character_set_client": "latin1",
    "character_set_connection": "latin1",
    "character_set_results": "latin1",
    "collation_connection": "latin1_german2_ci",
    "character_set_server": "latin1",
    "sql_safe_updates": "1",
    "sql_auto_is_null": "1",
    "group_concat_max_len": "4",
    "autocommit": "0",
    "max_statement_time": "0.5",
    "div_precision_increment": "0",
    "init_connect": "\"SET @@sql_select_limit = 3, @@time_zone = '-03:00', NAMES latin1\"",
}
LONG = "x" * 55
HOSTILE_TABLES = (
    f"CREATE TABLE {LONG}ééééa (a int, b timestamp DEFAULT '2020-01-01 00:00:00', c int AS (a))",
    f"CREATE TABLE {LONG}ééééb (a int DEFAULT (1 + 2), b char(9) DEFAULT '', c int)",
    "CREATE TABLE Таблица (имя char(9) COMMENT 'имя' DEFAULT 'имя') CHARACTER SET utf8mb4",
    "CREATE TABLE Tab (имя char(9))",
    "CREATE VIEW v AS SELECT имя FROM Таблица",
)
# What `information_schema` calls each built-in type, and the common type; None for the same name.
TYPES = {
    "tinyint": ("tinyint(4)", "integer"),
    "tinyint unsigned": ("tinyint(3) unsigned", "integer"),
    "boolean": ("tinyint(1)", "boolean"),
    "bool": ("tinyint(1)", "boolean"),
    "int1": ("tinyint(4)", "integer"),
    "smallint": ("smallint(6)", "integer"),
    "int2": ("smallint(6)", "integer"),
    "mediumint": ("mediumint(9)", "integer"),
    "int3": ("mediumint(9)", "integer"),
    "middleint": ("mediumint(9)", "integer"),
    "int": ("int(11)", "integer"),
    "int4": ("int(11)", "integer"),
    "integer(5) unsigned zerofill": ("int(5) unsigned zerofill", "integer"),
    "bigint": ("bigint(20)", "integer"),
    "int8 unsigned": ("bigint(20) unsigned", "integer"),
    "serial": ("bigint(20) unsigned", "integer"),
    "year": ("year(4)", "integer"),
    "year(2)": ("year(2)", "integer"),
    "decimal": ("decimal(10,0)", "decimal"),
    "decimal(12,3) unsigned": ("decimal(12,3) unsigned", "decimal"),
    "dec(5)": ("decimal(5,0)", "decimal"),
    "numeric(5,2) zerofill": ("decimal(5,2) unsigned zerofill", "decimal"),
    "fixed(5,2)": ("decimal(5,2)", "decimal"),
    "float": (None, "float"),
    "float(7,3) unsigned": (None, "float"),
    "float4": ("float", "float"),
    "double": (None, "float"),
    "double precision": ("double", "float"),
    "double(9,2)": (None, "float"),
    "float8": ("double", "float"),
    "real": ("double", "float"),
    "bit": ("bit(1)", "binary"),
    "bit(64)": (None, "binary"),
    "binary": ("binary(1)", "binary"),
    "binary(16)": (None, "binary"),
    "char byte": ("binary(1)", "binary"),
    "varbinary(16)": (None, "binary"),
    "tinyblob": (None, "binary"),
    "blob": (None, "binary"),
    "blob(70000)": ("mediumblob", "binary"),
    "mediumblob": (None, "binary"),
    "longblob": (None, "binary"),
    "long varbinary": ("mediumblob", "binary"),
    "char": ("char(1)", "string"),
    "char(20) character set latin1": ("char(20)", "string"),
    "nchar(5)": ("char(5)", "string"),
    "varchar(20)": (None, "string"),
    "varchar(20) compressed": ("varchar(20) /*M!100301 COMPRESSED*/", "string"),
    "national varchar(5)": ("varchar(5)", "string"),
    "nvarchar(5)": ("varchar(5)", "string"),
    "varcharacter(5)": ("varchar(5)", "string"),
    "tinytext": (None, "string"),
    "text": (None, "string"),
    "text(9)": ("tinytext", "string"),
    "mediumtext": (None, "string"),
    "longtext": (None, "string"),
    "long": ("mediumtext", "string"),
    "long varchar": ("mediumtext", "string"),
    "json": ("longtext", "string"),
    "enum('a','it''s (b)')": (None, "string"),
    "set('a','b')": (None, "string"),
    "inet4": (None, "string"),
    "inet6": (None, "string"),
    "uuid": (None, "uuid"),
    "date": (None, "date"),
    "time": (None, "time"),
    "time(3)": (None, "time"),
    "datetime": (None, "timestamp"),
    "datetime(6)": (None, "timestamp"),
    "timestamp": (None, "timestamp_tz"),
    "timestamp(6)": (None, "timestamp_tz"),
    "geometry": (None, "other"),
    "point": (None, "other"),
    "linestring": (None, "other"),
    "polygon": (None, "other"),
    "multipoint": (None, "other"),
    "multilinestring": (None, "other"),
    "multipolygon": (None, "other"),
    "geometrycollection": (None, "other"),
}


class MariaDBTestCase(SimpleTestCase):
    maxDiff = None
    options: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(mariadb.MariaDBServer(*cls.options))

    def connect(self, **settings):
        connector = make_connector(self.server, **settings)
        connection = connector.connect()
        self.addCleanup(connector.close, connection)
        return connection, connector.configuration

    def run_as_root(self, *statements, database="shop"):
        root = {"username": "root", "password": None, "database_name": database}
        with closing(make_connector(self.server, **root).connect()) as connection:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            connection.commit()
            return cursor.fetchall()

    def read(self, **settings):
        return tables_of(*self.connect(**settings))


class WholeDefinitionTests(MariaDBTestCase):
    def setUp(self):
        self.run_as_root("CREATE OR REPLACE DATABASE pairs")

    def run_script(self, *statements):
        self.run_as_root(*statements, database="pairs")

    def read(self):
        return super().read(username="root", password=None, database_name="pairs")

    def test_each_difference_of_two_definitions_is_noticed(self):
        self.run_script(
            "CREATE TABLE top (id int PRIMARY KEY, other int UNIQUE)",
            "CREATE SEQUENCE s",
            "CREATE SEQUENCE t",
        )
        states = []
        for number in (0, 1):
            self.run_script(
                *(
                    f"CREATE OR REPLACE TABLE `{name}` ({definitions[number]})"
                    for name, definitions in PAIRS.items()
                )
            )
            states.append(self.read())
        for name, (_, _, members) in PAIRS.items():
            with self.subTest(name):
                changed = changed_members(states[0][name], states[1][name])
                self.assertEqual({found for _, _, found in changed}, {*members.split()})
                self.assertEqual(len({found[:2] for found in changed}), 1)

    def test_second_reading_of_the_same_definitions_finds_no_change(self):
        statements = ["CREATE TABLE top (id int PRIMARY KEY, other int UNIQUE)"]
        statements += [f"CREATE OR REPLACE SEQUENCE {name}" for name in "st"]
        statements += [f"CREATE TABLE `{name}` ({after})" for name, (_, after, _) in PAIRS.items()]
        self.run_script(*statements)
        before = digest_of(self.read())
        self.run_as_root("CREATE OR REPLACE DATABASE pairs")
        self.run_script(*statements)
        self.assertEqual(digest_of(self.read()), before)

    def test_indexes_and_defaults_are_spelled_as_show_create_table_spells_them(self):
        self.run_script("CREATE TABLE top (id int PRIMARY KEY, other int UNIQUE)")
        self.run_script("CREATE SEQUENCE s", "CREATE SEQUENCE t")
        for name, (_, after, _) in PAIRS.items():
            self.run_script(f"CREATE TABLE `{name}` ({after})")
        for name, table in self.read().items():
            if name in PAIRS:
                with self.subTest(name):
                    [[_, text]] = self.run_as_root(f"SHOW CREATE TABLE pairs.`{name}`")
                    self.assert_spelled(table, text)

    def assert_spelled(self, table, text):
        for column in table["columns"]:
            if column["default_value"]:
                [line] = [
                    line for line in text.splitlines() if line.startswith(f"  `{column['name']}` ")
                ]
                self.assertIn(column["default_value"], line)
        for index in table["indexes"]:
            for part in filter(None, index["column_options"]):
                self.assertIn(part, text)
            if index["options"]:
                self.assertIn(index["options"], text)
        for key in table["foreign_keys"]:
            for clause, action in (("DELETE", key["on_delete"]), ("UPDATE", key["on_update"])):
                if action != "restrict":  # the default, which is not spelled
                    self.assertIn(f"ON {clause} {action.replace('_', ' ').upper()}", text)

    def test_primary_key_of_prefixes_has_them_as_options(self):
        self.run_script("CREATE TABLE t (a text, b int, PRIMARY KEY (a(4), b DESC))")
        key = self.read()["t"]["primary_key"]
        self.assertEqual((key["columns"], key["options"]), (["a", "b"], "(a (4), b DESC)"))


class KindsTests(MariaDBTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        root = make_connector(cls.server, username="root", password=None)
        with closing(root.connect()) as connection, connection.cursor() as cursor:
            for statement in filter(str.strip, KINDS.split(";\n")):
                cursor.execute(statement)
            cursor.execute("SELECT @@datadir")
            folder = Path(cursor.fetchone()[0]) / "shop"
            cursor.execute("FLUSH TABLES")
            (folder / "damaged.frm").write_bytes(b"garbage")
            (folder / "crashed.MYI").write_bytes(b"garbage")
            (folder / "lost.ibd").unlink()
        cls.tables = tables_of(*KindsTests().connect())

    def test_every_kind_of_table_is_read_once(self):
        kinds = {name: table["kind"] for name, table in self.tables.items()}
        views = {"of_gone", "of_function", "of_nobody", "working"}
        self.assertEqual({name for name, kind in kinds.items() if kind == "view"}, views)
        tables = {"plain", "parts", "versioned", "shown", "hidden", "in_memory", "aria", "isam"}
        tables |= {"isam2", "merged", "odd `%s .name", "damaged", "crashed", "lost", "away"}
        self.assertEqual({*kinds} - views, tables)

    def test_broken_objects_say_why_they_have_no_columns(self):
        broken = {name for name, table in self.tables.items() if table["problem"]}
        self.assertEqual(broken, {"of_gone", "of_function", "damaged"})
        for name in broken:
            with self.subTest(name):
                self.assertEqual(self.tables[name]["columns"], [])
                self.assertTrue(self.tables[name]["problem"].startswith("The source shows no col"))
                self.assertIsNone(self.tables[name]["comment"])

    def test_readable_objects_beside_broken_ones_are_whole(self):
        self.assertEqual(self.tables["plain"]["comment"], "all")
        self.assertEqual([*columns_of(self.tables["plain"])], ["a", "b"])
        self.assertEqual(self.tables["plain"]["primary_key"]["columns"], ["a"])
        self.assertEqual([*columns_of(self.tables["working"])], ["a"])
        self.assertEqual([*columns_of(self.tables["hidden"])], ["a", "b"])
        self.assertEqual(self.tables["versioned"]["primary_key"]["columns"], ["a"])
        self.assertEqual([*columns_of(self.tables["versioned"])], ["a"])
        starts = self.tables["shown"]["columns"][1]
        self.assertEqual(starts["default_value"], "GENERATED ALWAYS AS ROW START")
        [key] = self.tables["away"]["foreign_keys"]
        self.assertEqual((key["referred_schema"], key["referred_table"]), ("other", "far"))
        self.assertEqual([*columns_of(self.tables["odd `%s .name"])], ["a `%s"])


class HostileSettingsTests(MariaDBTestCase):
    def test_settings_of_the_server_do_not_change_what_is_read(self):
        self.run_as_root("CREATE OR REPLACE DATABASE shop CHARACTER SET latin1", "USE shop")
        self.run_as_root(*HOSTILE_TABLES)
        tables = self.read()
        self.assertEqual(len(tables), len(HOSTILE_TABLES))
        self.assertTrue(all(table["columns"] for table in tables.values()))
        usual = digest_of(tables)
        for name, value in HOSTILE.items():
            with self.subTest(name):
                [[before]] = self.run_as_root(f"SELECT @@GLOBAL.{name}")
                self.run_as_root(f"SET GLOBAL {name} = {value}")
                try:
                    self.assertEqual(digest_of(self.read()), usual)
                finally:
                    self.run_as_root(f"SET GLOBAL {name} = {self.literal(before)}")
        for name, value in HOSTILE.items():
            self.run_as_root(f"SET GLOBAL {name} = {value}")
        self.assertEqual(digest_of(self.read()), usual)

    def literal(self, value):
        return f"'{value}'" if isinstance(value, str) else str(value)

    def test_charset_of_the_client_does_not_change_what_is_read(self):
        self.run_as_root("CREATE OR REPLACE TABLE Имя (имя int COMMENT 'имя')")
        usual = digest_of(self.read())
        for options in ({"charset": "latin1"}, {"charset": "utf8mb4", "collation": "utf8mb4_bin"}):
            with self.subTest(options):
                self.assertEqual(digest_of(self.read(options=options)), usual)


class LowerCaseTests(MariaDBTestCase):
    options = ("--lower-case-table-names=1", "--character-set-server=latin1", "--skip-grant-tables")

    def test_database_is_found_in_any_case_where_names_are_stored_in_lower_case(self):
        self.run_as_root("CREATE TABLE Shop.Pets (Id int PRIMARY KEY)")
        tables = self.read(database_name="SHOP")
        self.assertEqual([table["name"] for table in tables.values()], ["pets"])
        [pets] = tables.values()
        self.assertEqual([*columns_of(pets)], ["Id"])
        self.assertEqual(pets["primary_key"]["columns"], ["Id"])


class TypeTests(MariaDBTestCase):
    def test_every_built_in_type_is_read_whole(self):
        self.run_as_root(
            *(f"CREATE TABLE t{number} (c {name})" for number, name in enumerate(TYPES))
        )
        tables = self.read()
        for number, (source_type, (shown, common_type)) in enumerate(TYPES.items()):
            with self.subTest(source_type):
                [found] = columns_of(tables[f"t{number}"]).values()
                self.assertEqual(found[:2], (shown or source_type, common_type))
