"""Tests of the MySQL reader on a live MariaDB."""

from contextlib import closing

from django.test import SimpleTestCase

from datasources.connections.testing import mariadb
from datasources.connections.testing.mariadb import make_connector
from datasources.schemas.reading.readers.mysql import MySQLReader, mysql_default
from datasources.schemas.reading.testing import columns_of, tables_of

STATEMENTS = (
    """CREATE TABLE people (
        id int unsigned AUTO_INCREMENT, country char(2) COMMENT 'iso', yes tinyint(1),
        small tinyint unsigned NOT NULL DEFAULT 0, price decimal(10,2), feels enum('ok', 'bad (x)'),
        day date, at datetime(3), y year, stamp timestamp NULL, doc json, raw blob,
        bits bit(3), p point,
        twice int AS (2) STORED,
        empty varchar(5) DEFAULT '', note text,
        PRIMARY KEY (country, id), KEY (id), UNIQUE by_price (price, day)
    ) COMMENT 'all of them'""",
    """CREATE TABLE People (
        a int PRIMARY KEY, country char(2), id int unsigned, up int,
        CONSTRAINT known FOREIGN KEY (country, id) REFERENCES people (country, id),
        CONSTRAINT above FOREIGN KEY (up) REFERENCES People (a)
    )""",
    "CREATE VIEW names AS SELECT note FROM people",
    "CREATE SEQUENCE numbers",
)


class MySQLReaderTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(mariadb.MariaDBServer())
        with closing(make_connector(cls.server).connect()) as connection:
            for statement in STATEMENTS:
                connection.cursor().execute(statement)

    maxDiff = None

    def reader(self, **settings):
        connector = make_connector(self.server, **settings)
        connection = connector.connect()
        self.addCleanup(connection.close)
        return MySQLReader(connection, connector.configuration)

    def read(self, **settings):
        reader = self.reader(**settings)
        return tables_of(reader.connection, reader.configuration)

    def test_tables_and_views_are_read_and_sequences_left_out(self):
        kinds = {name: (table["kind"], table["comment"]) for name, table in self.read().items()}
        self.assertEqual(
            kinds,
            {
                "people": ("table", "all of them"),
                "People": ("table", None),
                "names": ("view", None),
            },
        )

    def test_columns_of_mysql_tables_are_read(self):
        people = self.read()["people"]
        self.assertEqual(
            columns_of(people),
            {
                "id": ("int(10) unsigned", "integer", False, True),
                "country": ("char(2)", "string", False, False),
                "yes": ("tinyint(1)", "boolean", True, False),
                "small": ("tinyint(3) unsigned", "integer", False, True),
                "price": ("decimal(10,2)", "decimal", True, False),
                "feels": ("enum('ok','bad (x)')", "string", True, False),
                "day": ("date", "date", True, False),
                "at": ("datetime(3)", "timestamp", True, False),
                "stamp": ("timestamp", "timestamp_tz", True, False),
                "y": ("year(4)", "integer", True, False),
                "doc": ("longtext", "string", True, False),
                "raw": ("blob", "binary", True, False),
                "bits": ("bit(3)", "binary", True, False),
                "p": ("point", "other", True, False),
                "twice": ("int(11)", "integer", True, True),
                "empty": ("varchar(5)", "string", True, True),
                "note": ("text", "string", True, False),
            },
        )
        self.assertEqual(people["columns"][1]["comment"], "iso")

    def test_tables_whose_names_differ_by_case_are_kept_apart(self):
        tables = self.read()
        self.assertEqual([*columns_of(tables["People"])], ["a", "country", "id", "up"])
        self.assertEqual(tables["People"]["primary_key"]["columns"], ["a"])
        self.assertEqual(tables["people"]["primary_key"]["columns"], ["country", "id"])

    def test_columns_of_mysql_keys_and_indexes_keep_their_order(self):
        tables = self.read()
        indexes = {index["name"]: index for index in tables["people"]["indexes"]}
        self.assertEqual(
            indexes["by_price"],
            {
                "name": "by_price",
                "columns": ["price", "day"],
                "column_options": ["", ""],
                "is_unique": True,
                "method": "BTREE",
                "included_columns": [],
                "predicate": None,
                "options": None,
            },
        )
        self.assertEqual({*indexes}, {"by_price", "id"})
        above, known = tables["People"]["foreign_keys"]
        self.assertEqual((above["columns"], above["referred_table"]), (["up"], "People"))
        self.assertEqual(
            (known["columns"], known["referred_table"], known["referred_columns"]),
            (["country", "id"], "people", ["country", "id"]),
        )

    def test_schema_name_selects_a_database(self):
        self.assertTrue(self.reader(schema_name="shop", database_name=None).has_schema())
        self.assertFalse(self.reader(schema_name="none").has_schema())
        tables = self.read(schema_name="information_schema")
        self.assertIn("information_schema.TABLES", tables)

    def test_number_of_statements_does_not_grow_with_the_number_of_tables(self):
        before = self.count_statements("shop")
        names = [f"more{number}" for number in range(20)]
        body = "(a int, b int, c int, UNIQUE (a, b), UNIQUE (b, c))"
        self.execute(*(f"CREATE TABLE {name} {body}" for name in names))
        self.addCleanup(self.execute, *(f"DROP TABLE {name}" for name in names))
        self.assertEqual(self.count_statements("shop"), before)
        self.assertLess(before, 12)

    def execute(self, *statements):
        with closing(make_connector(self.server).connect()) as connection:
            for statement in statements:
                connection.cursor().execute(statement)

    def count_statements(self, schema_name):
        reader = self.reader(schema_name=schema_name)

        def questions():
            with closing(reader.connection.cursor()) as cursor:
                cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
                return int(cursor.fetchone()[1])

        before = questions()
        tables_of(reader.connection, reader.configuration)
        return questions() - before


class MySQLDefaultTests(SimpleTestCase):
    """Tests of what only MySQL has; its catalogue shows literals without quotes."""

    def test_literals_and_expressions_of_mysql_are_told_apart(self):
        for row, default in {
            (None, "", None): None,
            ("NULL", "", None): "'NULL'",
            ("it's \\", "", None): "'it''s \\\\'",
            ("b'101'", "", None): "b'101'",
            ("uuid()", "DEFAULT_GENERATED", None): "uuid()",
            ("uuid()", "", None): "'uuid()'",
            ("CURRENT_TIMESTAMP(3)", "", None): "CURRENT_TIMESTAMP(3)",
            (
                "CURRENT_TIMESTAMP",
                "DEFAULT_GENERATED on update CURRENT_TIMESTAMP",
                None,
            ): "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
            (None, "auto_increment", None): "AUTO_INCREMENT",
            (None, "VIRTUAL GENERATED", "`a` + 1"): "GENERATED ALWAYS AS (`a` + 1) VIRTUAL",
            (None, "STORED GENERATED INVISIBLE", "1"): "GENERATED ALWAYS AS (1) STORED",
        }.items():
            with self.subTest(row):
                self.assertEqual(mysql_default(*row), default)
