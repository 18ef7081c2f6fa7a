"""What is called `verified` is what these tests log in to, and read, on real servers and files."""

import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase, override_settings

from datasources.connections.connectors import CONNECTORS
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.files import write_files
from rivergen.local.run import BASE_DIR
from tests.real.reading import read_tables, tested

ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
DOCUMENT = BASE_DIR / "docs" / "connection-tests.md"
START = "### Which servers are tried"


@contextmanager
def postgresql_source(server_class):
    with server_class() as server:
        server.execute("CREATE TABLE people (id int PRIMARY KEY)", database=postgresql.DATABASE)
        yield server.port, postgresql


@contextmanager
def mariadb_source():
    with mariadb.MariaDBServer() as server:
        with mariadb.make_connector(server).connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE people (id int PRIMARY KEY)")
        yield server.port, mariadb


SERVERS = {
    "postgresql": [
        lambda: postgresql_source(postgresql.OlderPostgreSQLServer),
        lambda: postgresql_source(postgresql.PostgreSQLServer),
    ],
    "mariadb": [mariadb_source],
}
FILES = ("csv", "duckdb", "json", "parquet", "sqlite")


class VerifiedTypesTests(SimpleTestCase):
    def assert_works(self, type_name, **fields):
        self.assertEqual(tested(type_name, **fields)["code"], "OK")
        names = [table["name"] for table in read_tables(type_name, **fields)]
        self.assertTrue({"people", "data"} & {*names}, names)

    def test_servers_of_verified_types_are_logged_in_to_and_read(self):
        for type_name, servers in SERVERS.items():
            for number, server in enumerate(servers):
                with self.subTest(type_name, number=number), server() as (port, module):
                    self.assert_works(
                        type_name,
                        host="127.0.0.1",
                        port=port,
                        database_name=module.DATABASE,
                        username=module.USERNAME,
                        secrets={"password": module.PASSWORD},
                    )

    def test_files_of_verified_types_are_opened_and_read(self):
        folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        write_files(folder)
        self.enterContext(override_settings(STORAGE_ROOT=folder, STORAGE_URL=None))
        for type_name in FILES:
            with self.subTest(type_name):
                self.assert_works(type_name, file_path=type_name)

    def test_verified_types_are_those_that_these_tests_try(self):
        verified = {name for name, connector in CONNECTORS.items() if connector.is_verified}
        self.assertEqual(verified, {*SERVERS, *FILES})

    def test_document_names_what_each_type_is_tried_with(self):
        section = DOCUMENT.read_text().split(START)[1].split("\n#")[0]
        rows = {name: live for name, live, _ in ROW.findall(section)}
        self.assertEqual({*rows}, {*CONNECTORS})
        for name, live in rows.items():
            with self.subTest(name):
                self.assertEqual(live != "–", CONNECTORS[name].is_verified)
