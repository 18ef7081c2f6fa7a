"""Schemas and files of the packages that rivergen installs; `make real` reads many more."""

import re
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase, override_settings

from datasources.connections.connectors import CONNECTORS
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.files import write_files
from datasources.connections.testing.mariadb import MariaDBServer
from datasources.connections.testing.postgresql import OlderPostgreSQLServer, PostgreSQLServer
from rivergen.local.run import BASE_DIR
from tests.real.comparing import KINDS, Tally, no_facts
from tests.real.databases import compare_mariadb, compare_postgresql, compare_sqlite_schemas
from tests.real.files import compare_file
from tests.real.reading import read_tables, try_connection
from tests.real.second.postgresql import Quoting
from tests.real.sources import SITE_PACKAGES, debian_packages

TABLES_OF_DJANGO = 13
FILES = 8
FILE_TYPES = ("csv", "duckdb", "json", "parquet", "sqlite")
DOCUMENT = BASE_DIR / "docs" / "connection-tests.md"
HEADING = "### Which servers are tried"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)


class RealSourcesTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgresql = {
            "PostgreSQL 15": cls.enterClassContext(OlderPostgreSQLServer()),
            "PostgreSQL 18": cls.enterClassContext(PostgreSQLServer()),
        }
        cls.mariadb = cls.enterClassContext(MariaDBServer())

    def setUp(self):
        self.tally = Tally()
        self.folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.enterContext(override_settings(STORAGE_ROOT=self.folder, STORAGE_URL=None))

    def assert_same(self, database, **least):
        self.assertEqual(self.tally.differences, [], self.tally.table())
        for kind, number in least.items():
            compared = self.tally.compared[database, kind.replace("_", " ")]
            self.assertGreaterEqual(compared, number, kind)

    def test_schemas_are_read_as_postgresql_describes_them(self):
        for label, server in self.postgresql.items():
            with self.subTest(label):
                compare_postgresql(server, label, self.tally, ["installed"])
                self.assert_same(
                    label,
                    tables=TABLES_OF_DJANGO + 4,
                    columns=80,
                    primary_keys=TABLES_OF_DJANGO + 4,
                    foreign_keys=12,
                    indexes=40,
                )

    def test_schemas_are_read_as_mariadb_describes_them(self):
        compare_mariadb(self.mariadb, "MariaDB", self.tally, ["installed"])
        self.assert_same(
            "MariaDB",
            tables=TABLES_OF_DJANGO,
            columns=57,
            primary_keys=TABLES_OF_DJANGO,
            foreign_keys=10,
            indexes=15,
        )

    def test_schemas_are_read_as_sqlite_describes_them(self):
        compare_sqlite_schemas(self.folder, self.tally, ["installed"])
        self.assert_same(
            "SQLite",
            tables=TABLES_OF_DJANGO,
            columns=57,
            primary_keys=TABLES_OF_DJANGO,
            foreign_keys=10,
            indexes=15,
        )

    def test_compressed_json_files_are_read_as_python_reads_them(self):
        paths = sorted((SITE_PACKAGES / "botocore" / "data").glob("*/*/*.json.gz"))
        for path in paths[:: len(paths) // FILES]:
            compare_file("json", path, [], self.folder, self.tally)
        self.assert_same("JSON files", tables=FILES, columns=3 * FILES)

    def assert_works(self, type_name, **fields):
        self.assertEqual(try_connection(type_name, **fields)["code"], "OK")
        tables = {table["name"] for table in read_tables(type_name, **fields)}
        self.assertTrue(tables & {"people", "data"}, tables)

    def assert_server_works(self, type_name, server, module):
        self.assert_works(
            type_name,
            host="127.0.0.1",
            port=server.port,
            database_name=module.DATABASE,
            username=module.USERNAME,
            secrets={"password": module.PASSWORD},
        )

    def test_servers_of_verified_types_are_logged_in_to_and_read(self):
        statement = "CREATE TABLE IF NOT EXISTS people (id int PRIMARY KEY)"
        for label, server in self.postgresql.items():
            with self.subTest(label):
                server.execute(statement, database=postgresql.DATABASE)
                self.assert_server_works("postgresql", server, postgresql)
        with closing(mariadb.make_connector(self.mariadb).connect()) as connection:
            connection.cursor().execute(statement)
        self.assert_server_works("mariadb", self.mariadb, mariadb)

    def test_files_of_verified_types_are_opened_and_read(self):
        write_files(self.folder)
        for type_name in FILE_TYPES:
            with self.subTest(type_name):
                self.assert_works(type_name, file_path=type_name)


class VerifiedTypesTests(SimpleTestCase):
    def test_verified_types_are_those_that_the_tests_above_try(self):
        verified = {name for name, connector in CONNECTORS.items() if connector.is_verified}
        self.assertEqual(verified, {"postgresql", "mariadb", *FILE_TYPES})

    def test_document_says_what_each_type_is_tried_with(self):
        section = DOCUMENT.read_text().split(HEADING)[1].split("\n#")[0]
        rows = dict(ROW.findall(section))
        self.assertEqual({*rows}, {*CONNECTORS})
        for name, real in rows.items():
            with self.subTest(name):
                self.assertEqual(real != "–", CONNECTORS[name].is_verified)


class TallyTests(SimpleTestCase):
    def test_objects_that_differ_or_are_in_one_reading_only_are_counted(self):
        ours, second = no_facts(), no_facts()
        ours["indexes"] |= {("t", "same"): "a", ("t", "other"): "b", ("t", "ours"): "c"}
        second["indexes"] |= {("t", "same"): "a", ("t", "other"): "x", ("t", "second"): "d"}
        tally = Tally()
        tally.add("PostgreSQL 18", "shop", ours, second)
        self.assertEqual(tally.compared["PostgreSQL 18", "indexes"], 4)
        self.assertEqual(tally.differing["PostgreSQL 18", "indexes"], 3)
        self.assertIn("4/3", tally.table())
        self.assertIn("('t', 'other')", tally.shown_differences())

    def test_source_that_cannot_be_read_is_counted_as_a_difference(self):
        tally = Tally()
        tally.fail("MariaDB", "shop", "SCHEMA_UNREADABLE")
        self.assertEqual((tally.compared.total(), tally.differing.total()), (1, 1))

    def test_each_member_of_an_index_makes_a_difference(self):
        index = {
            "name": "i",
            "columns": ["a"],
            "column_options": [""],
            "is_unique": True,
            "method": "btree",
            "included_columns": ["b"],
            "predicate": "a > 0",
            "options": "NULLS NOT DISTINCT",
        }
        table = {"schema": "public", "name": "t", "columns": [{"name": "a"}, {"name": "b"}]}
        write = Quoting(set()).index
        whole = write(table, index)
        self.assertEqual(
            whole,
            "CREATE UNIQUE INDEX i ON t USING btree (a) INCLUDE (b) NULLS NOT DISTINCT WHERE a > 0",
        )
        for member, other in {
            "name": "j",
            "columns": ["b"],
            "column_options": ["DESC"],
            "is_unique": False,
            "method": "hash",
            "included_columns": [],
            "predicate": None,
            "options": None,
        }.items():
            with self.subTest(member):
                self.assertNotEqual(write(table, index | {member: other}), whole)

    def test_every_kind_of_object_has_a_column_in_the_table(self):
        tally = Tally()
        tally.add("SQLite", "shop", no_facts(), no_facts())
        self.assertTrue(all(kind in tally.table() for kind in KINDS))

    def test_packages_of_debian_are_named_by_the_scripts(self):
        self.assertIn("zabbix-server-pgsql", debian_packages())
