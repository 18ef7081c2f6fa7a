"""Names of hosts as people type them, against real servers with certificates for their A-labels."""

import os
import ssl
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.stages import Stages
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.tunnels import TunnelTestCase
from rivergen.testing.resolving import resolving

# As typed, and the name to which the lookup and the certificate belong.
TYPED = {
    "faß.example.test": "xn--fa-hia.example.test",
    "FAẞ.Example.TEST.": "xn--fa-hia.example.test",
    "faß。example。test": "xn--fa-hia.example.test",
    "ｆａß.example.test": "xn--fa-hia.example.test",
    "XN--FA-HIA.example.test.": "xn--fa-hia.example.test",
    "DB.Example.Test": "db.example.test",
    "db.example.test.": "db.example.test",
}
OTHERS = ("fass.example.test", "FASS.example.test", "other.example.test")


class HostNameTests(SimpleTestCase):
    def setUp(self):
        stack = self.enterContext(ExitStack())
        self.resolver = resolving(stack)

    def outcome(self, type_name, host, port, options, server):
        configuration = Configuration(
            type_name,
            host=host,
            port=port,
            database_name=server.DATABASE,
            username=server.USERNAME,
            secrets={"password": server.PASSWORD},
            options=options,
            max_retries=0,
            connection_timeout=10,
        )
        return attempt(configuration, LOOPBACK_POLICY, Stages())["code"]

    def assert_verifies(self, *arguments):
        for typed, asked in TYPED.items():
            with self.subTest(typed):
                type_name, port, options, server = arguments
                code = self.outcome(type_name, typed, port, options, server)
                self.assertEqual((code, {*self.resolver.asked}), ("OK", {asked}))
                self.resolver.asked.clear()
        for typed in OTHERS:
            with self.subTest(typed):
                code = self.outcome(type_name, typed, port, options, server)
                self.assertIn(code, ("TLS_FAILED", "TCP_REFUSED", "DNS_FAILED"))

    def test_postgresql_verifies_hosts_as_they_are_typed_in_full(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        server = self.enterContext(postgresql.PostgreSQLServer())
        front = self.enterContext(postgresql.TLSFront(server, folder))
        paths = ssl.get_default_verify_paths()._replace(cafile=str(front.certificates.authority))
        self.enterContext(mock.patch("ssl.get_default_verify_paths", return_value=paths))
        self.assert_verifies("postgresql", front.port, {"sslmode": "verify-full"}, postgresql)

    def test_mariadb_verifies_hosts_as_they_are_typed_in_full(self):
        server = self.enterContext(mariadb.MariaDBServer())
        authority = str(server.certificates.authority)
        self.enterContext(mock.patch.dict(os.environ, SSL_CERT_FILE=authority))
        self.assert_verifies("mariadb", server.port, {"ssl_mode": "VERIFY_IDENTITY"}, mariadb)


class TunnelHostNameTests(TunnelTestCase):
    def test_ssh_server_is_looked_up_and_asked_for_the_source_by_a_labels(self):
        stack = self.enterContext(ExitStack())
        resolver = resolving(stack)
        asked = []

        async def check_target(connection, host, port, deadline):
            asked.append(host)

        stack.enter_context(
            mock.patch("datasources.connections.ssh.tunnel.check_target", check_target)
        )
        configuration = self.by_key(
            ssh_host="FAß.Example.test.",
            host="Bücher.example.com.",
            database_name="shop",
            username="reader",
        )
        attempt(configuration, LOOPBACK_POLICY, Stages())
        self.assertEqual(resolver.asked, ["xn--fa-hia.example.test"])
        self.assertEqual(asked, ["xn--bcher-kva.example.com"])


class ConfigurationHostTests(SimpleTestCase):
    def test_configuration_has_one_spelling_of_each_host(self):
        for typed, canonical in {
            **TYPED,
            "2001:DB8:0:0::1": "2001:db8::1",
            "::ffff:10.0.0.5": "10.0.0.5",
            "10.0.0.5": "10.0.0.5",
            "my_container": "my_container",
        }.items():
            with self.subTest(typed):
                configuration = Configuration("postgresql", host=typed, ssh_host=typed)
                self.assertEqual(configuration.host, canonical)
                self.assertEqual(configuration.ssh_host, canonical)

    def test_configuration_keeps_text_that_is_no_host(self):
        for text in ("a,b", "/socket", "127.1", "xn--n3h.example"):
            with self.subTest(text):
                self.assertEqual(Configuration("postgresql", host=text).host, text)
