"""The options of connection strings: what drivers get, and what they make of it."""

import re
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import SimpleTestCase
from psycopg.pq import Conninfo
from pymongo import MongoClient

from datasources.connections.attempt import connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.protection import TLS
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.connections.url_options.option import NO_EFFECT
from datasources.models.connection_strings import read_connection_string, validate_fit

# What the options ask for, in the words of all clients, and what is guaranteed.
PROTECTION = {
    "postgresql": {
        "": TLS.IF_OFFERED,
        "sslmode=disable": TLS.OFF,
        "ssl=false": TLS.OFF,
        "ssl=0": TLS.OFF,
        "sslmode=prefer": TLS.IF_OFFERED,
        "sslaccept=accept_invalid_certs": TLS.IF_OFFERED,
        "requiressl=0": TLS.IF_OFFERED,
        "ssl=true": TLS.REQUIRED,
        "ssl=require": TLS.REQUIRED,
        "requiressl=1": TLS.REQUIRED,
        "sslmode=no-verify": TLS.REQUIRED,
        "sslmode=verify-ca": TLS.REQUIRED,
        "ssl=true&sslmode=prefer": TLS.REQUIRED,
        "sslmode=require&sslaccept=accept_invalid_certs": TLS.REQUIRED,
        "ssl=verify-full": TLS.VERIFIED,
        "ssl=true&sslmode=verify-full": TLS.VERIFIED,
        "sslmode=require&sslaccept=strict": TLS.VERIFIED,
        "sslrootcert=system": TLS.VERIFIED,
    },
    "mysql": {
        "": TLS.IF_OFFERED,
        "useSSL=false": TLS.OFF,
        "ssl=0": TLS.OFF,
        "tls=false": TLS.OFF,
        "ssl_disabled=true": TLS.OFF,
        "tls=preferred": TLS.IF_OFFERED,
        "verifyServerCertificate=false": TLS.IF_OFFERED,
        "ssl-mode=REQUIRED": TLS.REQUIRED,
        "sslmode=require": TLS.REQUIRED,
        "sslMode=verify_ca": TLS.REQUIRED,
        "ssl=true": TLS.REQUIRED,
        "tls=skip-verify": TLS.REQUIRED,
        'ssl={"rejectUnauthorized":false}': TLS.REQUIRED,
        "useSSL=true&verifyServerCertificate=false": TLS.REQUIRED,
        "tls=true": TLS.VERIFIED,
        "sslaccept=strict": TLS.VERIFIED,
        'ssl={"rejectUnauthorized":true}': TLS.VERIFIED,
        "ssl={}": TLS.VERIFIED,
        "useSSL=true&sslMode=VERIFY_IDENTITY": TLS.VERIFIED,
        "ssl_verify_cert=true&ssl_verify_identity=true": TLS.VERIFIED,
    },
    "mongodb": {
        "": TLS.OFF,
        "ssl=false": TLS.OFF,
        "tls=true": TLS.VERIFIED,
        "ssl=true&tls=true": TLS.VERIFIED,
        "tls=true&tlsInsecure=false": TLS.VERIFIED,
    },
    "mssql": {
        "": TLS.REQUIRED,
        "encrypt=yes&TrustServerCertificate=yes": TLS.REQUIRED,
        "Encrypt=mandatory": TLS.REQUIRED,
        "encrypt=no": TLS.IF_OFFERED,
        "encrypt=optional": TLS.IF_OFFERED,
        "encrypt=disable": TLS.OFF,
        "encryption=off": TLS.OFF,
    },
    "clickhouse": {
        "": TLS.OFF,
        "secure=false": TLS.OFF,
        "secure=True": TLS.VERIFIED,
        "secure=1&verify=true": TLS.VERIFIED,
        "protocol=https": TLS.VERIFIED,
    },
    "trino": {"": TLS.OFF, "SSL=true": TLS.VERIFIED, "protocol=https&verify=true": TLS.VERIFIED},
}
CONTRADICTIONS = {
    "postgresql": (
        "ssl=true&sslmode=disable",
        "sslmode=disable&sslaccept=strict",
        "sslmode=require&sslrootcert=system&ssl=no-verify",
        "sslmode=verify-full&sslaccept=accept_invalid_certs",
        "user=a",
        "dbname=other",
        "options=-csearch_path%3Da&options=-csearch_path%3Db",
    ),
    "mysql": (
        "useSSL=false&sslMode=REQUIRED",
        "tls=skip-verify&ssl_mode=VERIFY_IDENTITY",
        'ssl_disabled=true&ssl={"rejectUnauthorized":true}',
        "verifyServerCertificate=false&sslaccept=strict",
    ),
    "mongodb": ("ssl=true&tls=false", "j=true&journal=false"),
    "mssql": ("encrypt=yes&encryption=off", "appname=a&application_name=b"),
    "clickhouse": ("secure=false&protocol=https", "compress=lz4&compression=zstd"),
    "trino": ("protocol=http",),
}
# Options that ask for more than the driver does, or for less than it insists on.
CANNOT_BE_KEPT = {
    "postgresql": (
        *("gssencmode=require", "sslcompression=1", "sslcertmode=require", "sslsni=0"),
        # Another schema before pg_catalog would replace the functions that readers call.
        *("search_path=evil,pg_catalog", "options=-csearch_path%3Devil,PG_catalog"),
        *("options=-crole%3Dadmin", "options=-csearch_path%3Da%20-crole%3Dadmin"),
    ),
    "mysql": ("allowPublicKeyRetrieval=true", "local_infile=1", "allowCleartextPasswords=true"),
    "mongodb": ("tlsInsecure=true", "tlsAllowInvalidHostnames=true", "authMechanism=GSSAPI"),
    "mssql": ("TrustServerCertificate=no", "Encrypt=strict", "Authentication=ActiveDirectory"),
    "clickhouse": ("verify=false",),
    "snowflake": ("authenticator=externalbrowser",),
    "trino": ("verify=false", "http_scheme=http"),
}
# Options that name another destination, a file of this machine, or code to run.
HOSTILE = (
    *("host=evil.example.com", "hostaddr=203.0.113.1", "port=1", "service=a", "servicefile=/a"),
    *("passfile=/root/.pgpass", "sslkey=/a", "sslcert=/a", "sslrootcert=/a", "sslcrl=/a"),
    *("unix_socket=/a", "unixSocket=/a", "read_default_file=/a", "init_command=x", "ssl_ca=/a"),
    *("tlsCAFile=/a", "tlsCertificateKeyFile=/a", "odbc_connect=x", "wallet_location=/a"),
    *("credentials_path=/a", "proxyHost=evil.example.com", "socketFactory=x", "driver=/lib/x.so"),
    *("account=evil", "srvServiceName=evil", "dsn=x", "server=evil", "requirepeer=x"),
    *("autoDeserialize=true", "loggerFile=/a", "serverRSAPublicKeyFile=/a", "plugin_dir=/a"),
)
SAMPLES = ("true", "false", "1", "10", "120", "utf8", "a", "majority", "primary", "admin")


def meaning(type_: str, query: str) -> Configuration:
    url = f"{type_}://me@db.example.com/x?{query}"
    validate_fit(url, CONNECTORS[type_])
    return Configuration(type_, **read_connection_string(url, CONNECTORS[type_]))


class OptionTests(SimpleTestCase):
    def test_options_for_tls_are_honoured_in_the_words_of_every_client(self):
        for type_, cases in PROTECTION.items():
            for query, expected in cases.items():
                with self.subTest(type=type_, query=query):
                    self.assertEqual(CONNECTORS[type_].tls(meaning(type_, query)), expected)

    def test_options_that_contradict_each_other_are_refused(self):
        for type_, queries in CONTRADICTIONS.items():
            for query in queries:
                with self.subTest(type=type_, query=query), self.assertRaises(ValidationError):
                    meaning(type_, query)

    def test_options_that_cannot_be_kept_are_refused_and_named(self):
        for type_, queries in CANNOT_BE_KEPT.items():
            for query in queries:
                name = query.partition("=")[0].lower()
                with self.subTest(type=type_, query=query):
                    with self.assertRaises(ValidationError) as caught:
                        meaning(type_, query)
                    self.assertIn(name, str(caught.exception.message).lower())

    def test_options_that_move_the_destination_or_read_files_are_refused_by_every_type(self):
        for type_, connector in CONNECTORS.items():
            for query in HOSTILE if connector.url_schemes else ():
                if (type_, query) == ("mssql", "driver=/lib/x.so"):
                    continue  # of ODBC, which is not used
                with self.subTest(type=type_, query=query), self.assertRaises(ValidationError):
                    meaning(type_, query)

    def test_spelling_of_an_option_does_not_matter(self):
        for type_, connector in CONNECTORS.items():
            for name in connector.url_options:
                for written in (name, name.upper(), name.lower(), name.replace("_", "-")):
                    with self.subTest(type=type_, written=written):
                        found = connector.url_options.find(written)
                        folded = found and found.lower().replace("_", "")
                        self.assertEqual(folded, name.lower().replace("_", ""))

    def test_options_of_other_clients_never_reach_the_driver(self):
        for type_, connector in CONNECTORS.items():
            for name, option in connector.url_options.items():
                if option.sets != NO_EFFECT:
                    continue
                for value in filter(option.read, SAMPLES):
                    with self.subTest(type=type_, name=name):
                        fields = meaning(type_, f"{name}={value}")
                        self.assertEqual(fields.options, meaning(type_, "").options)

    def test_documentation_names_every_option_that_takes_effect(self):
        text = (settings.BASE_DIR / "docs" / "connection-tests.md").read_text()
        section = text.partition("## Connection strings")[2].partition("\n## ")[0]
        words = {*re.findall(r"`(\w+)[`=]", section)}
        for type_, connector in CONNECTORS.items():
            with self.subTest(type_):
                self.assertEqual({*connector.url_options.with_effect()} - words, set())

    def test_libpq_knows_every_option_that_it_gets(self):
        known = {option.keyword.decode() for option in Conninfo.get_defaults()}
        for type_ in ("postgresql", "redshift", "cockroachdb"):
            options = CONNECTORS[type_].url_options
            targets = {options[name].sets or name for name in options.with_effect()}
            fields = {"username", "database_name", "schema_name", "search_path"}
            self.assertEqual(targets - fields - known, set())

    def test_pymongo_takes_every_option_that_it_gets(self):
        options = CONNECTORS["mongodb"].url_options
        for name in options.with_effect():
            for value in filter(options[name].read, SAMPLES):
                with self.subTest(name=name, value=value):
                    given: dict[str, Any] = dict(meaning("mongodb", f"{name}={value}").options)
                    if "maxStalenessSeconds" in given:
                        given |= {"readPreference": "secondary"}
                        given["maxStalenessSeconds"] = "120"
                    MongoClient("mongodb://db.invalid", connect=False, **given).close()


class LivePostgreSQLTests(SimpleTestCase):
    server: PostgreSQLServer

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())

    @contextmanager
    def session(self, query: str):
        url = f"postgresql+psycopg2://{USERNAME}@127.0.0.1:{self.server.port}/{DATABASE}?{query}"
        connector = CONNECTORS["postgresql"]
        validate_fit(url, connector)
        fields = read_connection_string(url, connector)
        secrets = {"password": PASSWORD}
        configuration = Configuration("postgresql", **fields, secrets=secrets)
        with connector_for(configuration, LOOPBACK_POLICY, Stages()) as connected:
            connection = connected.connect()
            try:
                yield connection
            finally:
                connection.close()

    def test_options_take_effect_in_a_live_session(self):
        for query, setting, expected in (
            ("search_path=shop,public", "search_path", "shop,public"),
            ("currentSchema=shop", "search_path", "shop"),
            ("options=-csearch_path%3Dshop", "search_path", "shop"),
            ("options=-c%20lock_timeout%3D7s&search_path=shop", "search_path", "shop"),
            ("options=-c%20lock_timeout%3D7s&search_path=shop", "lock_timeout", "7s"),
            ("options=--search_path%3Dshop", "search_path", "shop"),
            ("application_name=a%20b", "application_name", "a b"),
            ("application_name=a+b", "application_name", "a+b"),
            ("ssl=false&pgbouncer=true&connection_limit=1", "application_name", "rivergen"),
            ("keepalives=1&keepalives_idle=30&tcp_user_timeout=900", "tcp_keepalives_idle", None),
            ("target_session_attrs=read-write&channel_binding=disable", "is_superuser", None),
            ("ssl_min_protocol_version=TLSv1.3&connect_timeout=5", "ssl", None),
        ):
            with self.subTest(query), self.session(query) as connection:
                shown = connection.execute(f"SHOW {setting}").fetchone()[0]
                if expected is not None:
                    self.assertEqual(shown.replace(", ", ","), expected)
