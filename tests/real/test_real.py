"""Schemas and files of the packages that rivergen installs; `make real` reads many more."""

from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase, override_settings

from datasources.connections.testing.mariadb import MariaDBServer
from datasources.connections.testing.postgresql import OlderPostgreSQLServer, PostgreSQLServer
from tests.real.comparing import KINDS, Tally, no_facts
from tests.real.databases import compare_mariadb, compare_postgresql, compare_sqlite_schemas
from tests.real.files import compare_file
from tests.real.second import postgresql
from tests.real.sources import SITE_PACKAGES, debian_packages

TABLES_OF_DJANGO = 13
FILES = 12


class InstalledSourcesTests(SimpleTestCase):
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
        for server_class, label in (
            (OlderPostgreSQLServer, "PostgreSQL 15"),
            (PostgreSQLServer, "PostgreSQL 18"),
        ):
            with self.subTest(label), server_class() as server:
                compare_postgresql(server, label, self.tally, ["installed"])
                self.assert_same(
                    label,
                    tables=TABLES_OF_DJANGO + 4,
                    columns=90,
                    primary_keys=TABLES_OF_DJANGO + 4,
                    foreign_keys=12,
                    indexes=40,
                )

    def test_schemas_are_read_as_mariadb_describes_them(self):
        with MariaDBServer() as server:
            compare_mariadb(server, "MariaDB", self.tally, ["installed"])
        self.assert_same(
            "MariaDB",
            tables=TABLES_OF_DJANGO,
            columns=60,
            primary_keys=TABLES_OF_DJANGO,
            foreign_keys=10,
            indexes=15,
        )

    def test_schemas_are_read_as_sqlite_describes_them(self):
        compare_sqlite_schemas(self.folder, self.tally, ["installed"])
        self.assert_same(
            "SQLite",
            tables=TABLES_OF_DJANGO,
            columns=60,
            primary_keys=TABLES_OF_DJANGO,
            foreign_keys=10,
            indexes=15,
        )

    def test_compressed_json_files_are_read_as_python_reads_them(self):
        paths = sorted((SITE_PACKAGES / "botocore" / "data").glob("*/*/*.json.gz"))
        for path in paths[:: len(paths) // FILES]:
            compare_file("json", path, [], self.folder, self.tally)
        self.assert_same("JSON files", tables=FILES, columns=3 * FILES)


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
        write = postgresql.Quoting(set()).index
        whole = write(table, index)
        self.assertEqual(
            whole,
            "CREATE UNIQUE INDEX i ON t USING btree (a) INCLUDE (b) NULLS NOT DISTINCT"
            " WHERE a > 0",
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
