"""Tests of what a session of PostgreSQL inherits: from its role, its database and its server."""

from unittest import mock

import psycopg
from django.test import SimpleTestCase
from psycopg.conninfo import make_conninfo

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    OlderPostgreSQLServer,
    PostgreSQLServer,
)
from datasources.schemas.reading.readers.postgresql_session import begin
from datasources.schemas.reading.testing import read_postgresql, tables_in
from rivergen.testing.pgbouncer import pgbouncer

# Names and constants whose spelling depends on settings.
SCRIPT = r"""
CREATE SCHEMA evil;
CREATE TYPE evil.mood AS ENUM ('good');
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE DOMAIN "Größe" AS numeric(10,2) NOT NULL DEFAULT 1.5;
CREATE FUNCTION evil.lower(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE TABLE größen (
    id serial PRIMARY KEY, "Wert" "Größe", feels mood DEFAULT 'ok', worse evil.mood, j jsonb,
    at date DEFAULT '2024-03-04', seen timestamptz DEFAULT '2024-03-04 05:06+00',
    wait interval DEFAULT '1 day 02:03', raw bytea DEFAULT '\x00ff', path text DEFAULT 'a\b',
    ratio float8 DEFAULT 0.1::float8 + 0.2::float8, third float8 DEFAULT '0.3333333333333333',
    cost money DEFAULT '1.50', none text DEFAULT NULL
);
CREATE INDEX lately ON größen (evil.lower(path), lower(path))
    WHERE seen > '2024-01-01 00:00+00' AND wait > '1 day';
CREATE TABLE parts (size int REFERENCES größen);
COMMENT ON TABLE größen IS 'in €';
"""
# Tables and operators that come first in a hostile search path.
SHADOWS = """
CREATE TABLE evil.pg_class (oid oid, relname name);
CREATE TABLE evil.pg_settings (name text);
CREATE FUNCTION evil.spoil(text, text) RETURNS boolean LANGUAGE sql
    AS $$ SELECT pg_catalog.pg_sleep(60) IS NULL $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.spoil);
GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
"""
HOSTILE = {
    "client_encoding": "'LATIN1'",
    "search_path": "evil, pg_catalog, public",
    "quote_all_identifiers": "on",
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "'sql_standard'",
    "TimeZone": "'Asia/Kathmandu'",
    "bytea_output": "'escape'",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "xmlbinary": "'hex'",
    "xmloption": "'document'",
    "lc_messages": "'C'",
    "lc_monetary": "'POSIX'",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "transform_null_equals": "on",
    "row_security": "off",
    "client_min_messages": "'debug5'",
    "enable_hashjoin": "off",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "join_collapse_limit": "1",
    "work_mem": "'64kB'",
    "jit_above_cost": "0",
    "role": "'idler'",
}


class SessionTests:
    """Tests of a server; `version` is its major version."""

    server_class: type[PostgreSQLServer]
    version: int

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.server_class())
        cls.server.execute("CREATE ROLE idler")
        cls.server.execute(f"GRANT idler TO {USERNAME}")
        cls.server.execute(SCRIPT + SHADOWS, DATABASE)

    def read(self, **facts):
        return read_postgresql(self.server.port, **facts)

    def configuration(self, **facts):
        defaults = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "database_name": DATABASE,
            "username": USERNAME,
            "secrets": {"password": PASSWORD},
        }
        return Configuration("postgresql", **(defaults | facts))

    def inherit(self, settings, owner=f"ROLE {USERNAME}"):
        """Set defaults of a role or a database until the test ends."""
        self.addCleanup(self.server.execute, f"ALTER {owner} RESET ALL")
        for name, value in settings.items():
            self.server.execute(f"ALTER {owner} SET {name} = {value}")

    def make_database(self, encoding, script, client_encoding=None):
        """Make a database, and run a script in an encoding. Return the name of the database."""
        name = f"in_{encoding.lower()}"
        client_encoding = client_encoding or encoding
        self.server.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
        )
        self.addCleanup(self.server.execute, f"DROP DATABASE {name} WITH (FORCE)")
        url = make_conninfo(
            self.server.uri, dbname=name, client_encoding=client_encoding or encoding
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script)
        return name

    def test_each_setting_that_a_role_inherits_leaves_the_snapshot_as_it_is(self):
        clean = self.read()
        self.assertIn("größen", tables_in(clean))
        for name, value in HOSTILE.items():
            with self.subTest(name):
                self.inherit({name: value})
                try:
                    self.assertEqual(tables_in(self.read()), tables_in(clean))
                finally:
                    self.server.execute(f"ALTER ROLE {USERNAME} RESET ALL")

    def test_all_settings_of_a_database_together_leave_the_snapshot_as_it_is(self):
        clean = self.read()
        together = {name: value for name, value in HOSTILE.items() if name != "role"}
        self.inherit(together, owner=f"DATABASE {DATABASE}")
        self.assertEqual(self.read().digest, clean.digest)
        outcome = attempt(self.configuration(), LOOPBACK_POLICY, Stages())
        self.assertEqual(outcome["code"], "OK")
        self.assertRegex(outcome["server_version"], rf"\APostgreSQL {self.version}\b")

    def test_timeouts_that_a_role_inherits_are_off_while_the_catalogue_is_read(self):
        names = ["lock_timeout", "idle_in_transaction_session_timeout"]
        names += ["transaction_timeout"] * (self.version >= 17)
        self.inherit(dict.fromkeys(names, "'50s'"))
        with psycopg.connect(
            self.server.uri, dbname=DATABASE, user=USERNAME, password=PASSWORD, host="127.0.0.1"
        ) as connection:
            begin(connection)
            for name in names:
                self.assertEqual(connection.execute(f"SHOW {name}").fetchone(), ("0",))

    def test_connection_test_of_a_deferrable_role_does_not_wait_for_others(self):
        self.inherit(
            {
                "default_transaction_isolation": "'serializable'",
                "default_transaction_read_only": "on",
                "default_transaction_deferrable": "on",
            }
        )
        with psycopg.connect(self.server.uri, dbname=DATABASE) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE")
            other.execute("SELECT pg_current_xact_id()")
            outcome = attempt(self.configuration(query_timeout=3), LOOPBACK_POLICY, Stages())
        self.assertEqual(outcome["code"], "OK")

    def test_database_without_an_encoding_is_read_as_utf8(self):
        name = self.make_database("SQL_ASCII", 'CREATE TABLE "naïve" (größe int)'.encode())
        outcome = attempt(self.configuration(database_name=name), LOOPBACK_POLICY, Stages())
        self.assertRegex(outcome["server_version"], rf"\APostgreSQL {self.version}\b")
        table = tables_in(self.read(database=name))["naïve"]
        self.assertEqual(table["columns"][0]["name"], "größe")
        self.assertEqual([*tables_in(self.read(database=name, schema_name="public"))], ["naïve"])

    def test_names_that_are_not_utf8_are_replaced_and_all_else_is_read(self):
        script = (
            'CREATE TABLE "caf\xe9" (id int, "ma\xdfe" int PRIMARY KEY, "ma\xdce" int);'
            'CREATE TABLE "caf\xe8" (id int REFERENCES "caf\xe9");'
            'CREATE INDEX ON "caf\xe9" ("ma\xdfe", "ma\xdce");'
            "CREATE TABLE plain (note text DEFAULT '\xe9');"
            "COMMENT ON TABLE plain IS 'd\xe9j\xe0 vu'"
        ).encode("latin-1")
        tables = tables_in(self.read(database=self.make_database("SQL_ASCII", script)))
        self.assertEqual([*tables], ["caf\\xe8", "caf\ufffd", "plain"])
        first = tables["caf\ufffd"]
        self.assertEqual(
            [column["name"] for column in first["columns"]], ["id", "ma\ufffde", "ma\\xdce"]
        )
        self.assertEqual(first["primary_key"]["columns"], ["ma\ufffde"])
        self.assertEqual(first["indexes"][0]["columns"], ["ma\ufffde", "ma\\xdce"])
        self.assertEqual(tables["caf\\xe8"]["foreign_keys"][0]["referred_table"], "caf\ufffd")
        self.assertEqual(tables["plain"]["comment"], "d\ufffdj\ufffd vu")
        self.assertEqual(tables["plain"]["columns"][0]["default_value"], "'\ufffd'::text")

    def test_names_in_any_encoding_of_a_database_are_read(self):
        for encoding, codec, name in (
            ("LATIN1", "latin-1", "größe"),
            ("LATIN9", "iso8859-15", "€"),
            ("WIN1251", "cp1251", "размер"),
            ("KOI8R", "koi8-r", "размер"),
            ("EUC_JP", "euc_jp", "寸法"),
            ("EUC_KR", "euc_kr", "크기"),
            ("EUC_CN", "gb2312", "尺寸"),
        ):
            with self.subTest(encoding):
                script = f'CREATE TABLE "{name}" ("{name}" int)'.encode(codec)
                database = self.make_database(encoding, script)
                [table] = tables_in(self.read(database=database, schema_name="public")).values()
                self.assertEqual((table["name"], table["columns"][0]["name"]), (name, name))

    def test_names_in_an_encoding_that_only_the_server_knows_are_read(self):
        script = 'CREATE TABLE "尺寸" ("尺寸" int)'.encode()
        database = self.make_database("EUC_TW", script, client_encoding="UTF8")
        [table] = tables_in(self.read(database=database)).values()
        self.assertEqual((table["name"], table["columns"][0]["name"]), ("尺寸", "尺寸"))

    def test_byte_that_an_encoding_does_not_define_is_replaced(self):
        script = b'CREATE TABLE "a\x81b" (n int); CREATE TABLE "gr\xf6\xdfe" ()'
        database = self.make_database("WIN1252", script)
        self.assertEqual([*tables_in(self.read(database=database))], ["a\ufffdb", "größe"])


class PostgreSQLSessionTests(SessionTests, SimpleTestCase):
    """PostgreSQL 18."""

    server_class = PostgreSQLServer
    version = 18

    def test_trigger_on_login_that_changes_settings_leaves_the_snapshot_as_it_is(self):
        clean = self.read()
        self.server.execute(
            "CREATE FUNCTION spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM set_config('search_path', 'evil', false);"
            " PERFORM set_config('DateStyle', 'German', false); END $$;"
            "CREATE EVENT TRIGGER spoiling ON login EXECUTE FUNCTION spoil();"
            "ALTER EVENT TRIGGER spoiling ENABLE ALWAYS",
            DATABASE,
        )
        self.addCleanup(self.server.execute, "DROP FUNCTION spoil CASCADE", DATABASE)
        self.assertEqual(self.read().digest, clean.digest)


class OlderPostgreSQLSessionTests(SessionTests, SimpleTestCase):
    """PostgreSQL 15."""

    server_class = OlderPostgreSQLServer
    version = 15

    def test_pooled_session_is_left_as_it_was(self):
        with pgbouncer(self.server.port, DATABASE, pool_size=1) as url:
            port = int(psycopg.conninfo.conninfo_to_dict(url)["port"])
            with psycopg.connect(url, autocommit=True, prepare_threshold=None) as client:
                settings = "SELECT name, setting FROM pg_settings WHERE name NOT IN (%s, %s)"
                hidden = ("application_name", "statement_timeout")
                before = client.execute(settings, hidden).fetchall()
                self.assertIn("größen", tables_in(read_postgresql(port)))
                self.assertEqual(client.execute(settings, hidden).fetchall(), before)


class LesserServerTests(SimpleTestCase):
    def test_server_without_these_settings_is_read_with_what_it_has(self):
        connection = mock.Mock()  # a fake: there is no CockroachDB here
        connection.info.parameter_status.return_value = None
        connection.execute.side_effect = [psycopg.errors.FeatureNotSupported, None]
        begin(connection)
        connection.rollback.assert_called_once_with()
        self.assertIn("READ ONLY", connection.execute.call_args.args[0])
        self.assertNotIn("SET", connection.execute.call_args.args[0])
