"""Honest drivers of all types: a child of the sandbox has the outcome that this process has."""

import asyncio
import dataclasses
import gzip
import json
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase, override_settings

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS, DataSourceType
from datasources.connections.files.tests.test_compression import COMPRESSIONS, zipped
from datasources.connections.sandbox.attempt import attempt_in_child
from datasources.connections.sandbox.process import run_in_child, start_forkserver
from datasources.connections.stages import Stages
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.connectors import LOOPBACK_POLICY, configuration_to
from datasources.connections.testing.fake_http import answer_as_clickhouse, serve_http
from datasources.connections.testing.fake_mongodb import serve_mongo
from datasources.connections.testing.fake_mssql import serve_tds
from datasources.connections.testing.fake_oracle import refuse
from datasources.connections.testing.fake_s3 import FakeS3
from datasources.connections.testing.files import write_files
from datasources.connections.testing.listeners import Listener, close_at_once, say_garbage
from datasources.connections.testing.openssh import OpenSSH, account
from datasources.schemas.reading.child import read_and_send
from datasources.schemas.reading.sandbox import Reading
from rivergen.testing.services import free_port

SECONDS = 15
WITHOUT_TLS = {"encryption": "off"}
WIDE_TABLES = 300
# Drivers that wait for another answer until the time is over.
PATIENT = ("mongodb", "oracle")


def configured(type_name, port, **changes):
    """Return a configuration that waits long enough for a busy machine."""
    return configuration_to(type_name, port, connection_timeout=SECONDS, **changes)


def summary(outcome):
    """Return what must be the same: all but the times."""
    stages = [(stage["stage"], stage["ok"]) for stage in outcome["stages"]]
    return outcome["code"], stages, outcome["server_version"]


class HonestChildTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        start_forkserver()
        cls.postgresql = cls.enterClassContext(postgresql.PostgreSQLServer())

    def setUp(self):
        self.root = Path(self.enterContext(TemporaryDirectory())).resolve()
        write_files(self.root / "1")
        self.enterContext(override_settings(STORAGE_ROOT=self.root, STORAGE_URL=None))

    def assert_same(self, configuration, code=None):
        """Check that a test has the same outcome in a child and in this process."""
        inside = summary(asyncio.run(attempt_in_child(configuration, LOOPBACK_POLICY)))
        outside = summary(attempt(configuration, LOOPBACK_POLICY, Stages()))
        self.assertEqual(inside, outside)
        if code:
            self.assertEqual(inside[0], code, inside)

    def of_postgresql(self, type_name, **changes):
        return configured(
            type_name,
            self.postgresql.port,
            database_name=postgresql.DATABASE,
            username=postgresql.USERNAME,
            secrets={"password": postgresql.PASSWORD},
            **changes,
        )

    def servers(self, stack):
        """Yield for each type of servers that can be had a configuration, and its code."""
        for type_name in ("postgresql", "redshift", "cockroachdb"):
            yield self.of_postgresql(type_name), "OK"
        server = stack.enter_context(mariadb.MariaDBServer())
        for type_name in ("mariadb", "mysql"):
            fields = {"database_name": mariadb.DATABASE, "username": mariadb.USERNAME}
            secrets = {"password": mariadb.PASSWORD}
            yield configured(type_name, server.port, secrets=secrets, **fields), "OK"
        for type_name, answer, fields, code in (
            ("mongodb", serve_mongo(), {"username": None, "secrets": {}}, "OK"),
            ("mssql", serve_tds(), {"options": WITHOUT_TLS}, "OK"),
            ("oracle", refuse(12514), {}, "DATABASE_MISSING"),
            ("clickhouse", serve_http(answer_as_clickhouse), {}, "OK"),
        ):
            server = stack.enter_context(Listener(answer))
            yield configured(type_name, server.port, **fields), code

    def test_each_type_of_server_has_the_same_outcome_in_a_child(self):
        with ExitStack() as stack:
            for configuration, code in self.servers(stack):
                with self.subTest(configuration.type):
                    self.assert_same(configuration, code)

    def test_wrong_servers_have_the_same_outcome_in_a_child_for_each_type(self):
        for type_name in DataSourceType.values:
            with self.subTest(type_name):
                self.assert_same(self.somehow(type_name, free_port()))
            for answer in (close_at_once, say_garbage):
                if CONNECTORS[type_name].has_endpoint and type_name not in PATIENT:
                    with self.subTest(type_name, answer=answer), Listener(answer) as server:
                        self.assert_same(self.somehow(type_name, server.port))

    def somehow(self, type_name, port):
        """Return a configuration of any type; for files, with a path that does not exist."""
        key = {"service_account_json": json.dumps({"type": "service_account"})}
        fields = {"file_path": "1/none"} if CONNECTORS[type_name].reads_storage else {}
        options = {"http_path": "/sql/1"} if type_name == "databricks" else {}
        secrets = key if type_name == "bigquery" else {"password": "x", "token": "x"}
        return configured(type_name, port, options=options, secrets=secrets, **fields)

    def test_each_type_of_file_has_the_same_outcome_in_a_child(self):
        for type_name in ("csv", "json", "parquet", "sqlite", "duckdb"):
            with self.subTest(type_name):
                self.assert_same(Configuration(type_name, file_path=f"1/{type_name}"), "OK")
                self.assert_same(Configuration(type_name, file_path="1/none"), "FILE_MISSING")

    def test_compressed_and_other_files_have_the_same_outcome_in_a_child(self):
        text = "id,name\n1,Zoë\n"
        bomb = gzip.compress(b"id,name\n" + b"1,x\n" * 20_000_000)
        for content, code in (
            *((compress(text.encode()), "OK") for compress in COMPRESSIONS.values()),
            *((text.encode(encoding), "OK") for encoding in ("utf-16", "utf-32-be", "latin-1")),
            (zipped(text.encode()), "OK"),
            (bomb, "OK"),
            (gzip.compress(text.encode())[:-3], "FILE_TRUNCATED"),
            (text.encode() + b"2\n", "FILE_MALFORMED"),
            ("имя,город\n".encode("cp1251"), "FILE_ENCODING"),
            (b"%PDF-1.4", "FILE_OTHER_TYPE"),
        ):
            (self.root / "1/other").write_bytes(content)
            with self.subTest(content[:20], code=code):
                self.assert_same(Configuration("csv", file_path="1/other"), code)

    def test_each_type_of_object_has_the_same_outcome_in_a_child(self):
        store = FakeS3(self)
        for path in (self.root / "1").iterdir():
            store.objects[f"/files/1/{path.name}"] = path.read_bytes()
        with override_settings(STORAGE_URL=("files", ""), STORAGE_ROOT=None):
            for type_name in ("csv", "json", "parquet", "sqlite", "duckdb"):
                with self.subTest(type_name):
                    self.assert_same(Configuration(type_name, file_path=f"1/{type_name}"), "OK")
            self.assert_same(Configuration("csv", file_path="1/none"), "FILE_MISSING")

    def test_source_behind_a_tunnel_has_the_same_outcome_in_a_child(self):
        username, _ = self.enterContext(account())
        with OpenSSH() as server:
            tunnel = {
                "use_ssh_tunnel": True,
                "ssh_host": "localhost",
                "ssh_port": server.port,
                "ssh_username": username,
            }
            configuration = self.of_postgresql("postgresql", **tunnel)
            self.assert_same(configuration, "SSH_HOST_KEY_UNCONFIRMED")
            secrets = {**configuration.secrets, "ssh_private_key": server.read("key")}
            tunnel |= {"ssh_host_key": next(iter(server.host_keys.values()))}
            self.assert_same(dataclasses.replace(configuration, **tunnel, secrets=secrets), "OK")
            for type_name, answer in (("mongodb", serve_mongo()), ("mssql", serve_tds())):
                with self.subTest(type_name), Listener(answer) as source:
                    options = WITHOUT_TLS if type_name == "mssql" else {}
                    configuration = configured(type_name, source.port, options=options, **tunnel)
                    secrets = {"ssh_private_key": server.read("key"), "password": "x"}
                    username = None if type_name == "mongodb" else "reader"
                    given = {"secrets": secrets, "username": username}
                    self.assert_same(dataclasses.replace(configuration, **given), "OK")

    def test_schema_of_a_sqlite_file_is_sorted_without_a_temporary_file(self):
        with sqlite3.connect(self.root / "1/wide") as connection:
            names = ", ".join(f"a_column_with_a_long_name_{number}" for number in range(200))
            for number in range(WIDE_TABLES):
                connection.execute(f"CREATE TABLE table_{number} ({names})")
        connection.close()
        configuration = Configuration("sqlite", file_path="1/wide")
        reading = Reading(configuration)
        asyncio.run(run_in_child(read_and_send, configuration, LOOPBACK_POLICY, reading))
        self.assertEqual(reading.code, "OK")
        self.assertEqual(reading.content.table_count, WIDE_TABLES)
