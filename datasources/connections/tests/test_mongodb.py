"""MongoDB, against a fake server."""

import threading
from unittest import mock

from django.test import SimpleTestCase
from dns.resolver import NXDOMAIN, LifetimeTimeout, NoAnswer
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure

from datasources.connections.connectors import CONNECTORS
from datasources.connections.failures import Code
from datasources.connections.testing.connectors import PASSWORD, connector_to, failure_of
from datasources.connections.testing.fake_mongodb import HELLO, serve_mongo
from datasources.connections.testing.listeners import Listener, say_garbage
from datasources.models.connection_strings import read_connection_string


class MongoDBTests(SimpleTestCase):
    def test_mongodb_without_authentication_returns_the_version(self):
        with Listener(serve_mongo()) as server:
            connector = connector_to("mongodb", server.port, username=None, secrets={})
            client = connector.connect()
            self.assertEqual(connector.query_version(client), "MongoDB 7.0.1")
            client.close()

    def test_mongodb_that_requires_authentication_is_credentials_unset(self):
        refusal = {"ok": 0, "code": 13, "errmsg": "words", "codeName": "Unauthorized"}
        with Listener(serve_mongo({"listCollections": refusal})) as server:
            connector = connector_to("mongodb", server.port, username=None, secrets={})
            self.assertEqual(failure_of(connector).code, Code.CREDENTIALS_UNSET)

    def test_mongodb_user_without_rights_to_the_database_is_database_forbidden(self):
        error = OperationFailure("words", 13, {"code": 13})
        self.assertEqual(connector_to("mongodb", 1).explain(error), Code.DATABASE_FORBIDDEN)

    def test_mongodb_errors_of_statements_map_to_failure_codes(self):
        for error, code in (
            (OperationFailure("words", 13, {"code": 13}), Code.PERMISSION_DENIED),
            (OperationFailure("words", 50, {"code": 50}), Code.QUERY_TIMEOUT),
            (OperationFailure("words", 11600, {"code": 11600}), Code.CONNECTION_LOST),
            (NetworkTimeout("words"), Code.QUERY_TIMEOUT),
            (AutoReconnect("words"), Code.CONNECTION_LOST),
            (OperationFailure("words", 59, {"code": 59}), None),
        ):
            with self.subTest(error):
                self.assertEqual(connector_to("mongodb", 1).explain_statement(error), code)

    def test_mongodb_wrong_password_is_login_failed_and_is_not_sent(self):
        refusal = {"ok": 0, "code": 18, "errmsg": "words", "codeName": "AuthenticationFailed"}
        answers = {
            "saslStart": refusal,
            "ismaster": HELLO | {"saslSupportedMechs": ["SCRAM-SHA-256"]},
        }
        with Listener(serve_mongo(answers)) as server:
            failure = failure_of(connector_to("mongodb", server.port))
            self.assertEqual(failure.code, Code.LOGIN_FAILED)
            sent = b"".join(server.received)
            self.assertIn(b"saslStart", sent)
            self.assertNotIn(PASSWORD.encode(), sent)

    def test_mongodb_user_is_looked_up_in_admin_or_in_the_database_of_a_url(self):
        for url, source in (
            ("mongodb://db.example.com", None),
            ("mongodb://db.example.com/sales", "sales"),
            ("mongodb://db.example.com/sales?authSource=users", "users"),
            ("mongodb+srv://db.example.com/sales", None),
        ):
            with self.subTest(url):
                fields = read_connection_string(url, CONNECTORS["mongodb"])
                connector = connector_to("mongodb", 1, options=fields["options"])
                self.assertEqual(connector._options().get("authSource"), source)

    def test_mongodb_mechanisms_that_use_files_or_clouds_are_refused(self):
        for mechanism in ("GSSAPI", "MONGODB-AWS", "MONGODB-OIDC", "MONGODB-X509", "nonsense"):
            with self.subTest(mechanism), Listener(serve_mongo()) as server:
                options = {"authMechanism": mechanism, "tls": "true"}
                failure = failure_of(connector_to("mongodb", server.port, options=options))
                self.assertEqual(failure.code, Code.OPTION_INVALID)
                self.assertEqual(server.received, [])

    def test_mongodb_refuses_invalid_options(self):
        for name, value in (
            ("appName", "x" * 500),
            ("directConnection", "nonsense"),
            ("readPreference", "nonsense"),
            ("tls", "maybe"),
        ):
            with self.subTest(name), Listener(serve_mongo()) as server:
                failure = failure_of(connector_to("mongodb", server.port, options={name: value}))
                self.assertEqual(failure.code, Code.OPTION_INVALID)
                self.assertEqual(server.received, [])

    def test_mongodb_without_configured_credentials_sends_nothing(self):
        mechanism = {"authMechanism": "SCRAM-SHA-256"}
        for fields in ({}, {"username": None, "options": mechanism}, {"options": mechanism}):
            with self.subTest(fields), Listener(serve_mongo()) as server:
                failure = failure_of(connector_to("mongodb", server.port, secrets={}, **fields))
                self.assertEqual(failure.code, Code.CREDENTIALS_UNSET)
                self.assertEqual(server.received, [])

    def test_mongodb_error_numbers_map_to_failure_codes(self):
        for number, code in (
            (91, Code.SERVER_BUSY),
            (50, Code.DEADLINE),
            (13, Code.LOGIN_FAILED),  # nobody has logged in
            (11, Code.LOGIN_FAILED),
            (73, Code.DATABASE_MISSING),
            (11600, Code.SERVER_BUSY),
            (59, Code.QUERY_FAILED),
        ):
            refusal = {"ok": 0, "code": number, "errmsg": "words"}
            with (
                self.subTest(number),
                Listener(serve_mongo({"listCollections": refusal})) as server,
            ):
                connector = connector_to("mongodb", server.port, username=None)
                self.assertEqual(failure_of(connector).code, code)

    def test_mongodb_srv_name_without_servers_is_dns_failed(self):
        for secrets in ({}, {"password": PASSWORD}):
            for error in (NXDOMAIN(), NoAnswer(), LifetimeTimeout(timeout=1, errors=[])):
                with (
                    self.subTest(error=error, secrets=secrets),
                    mock.patch("dns.resolver.resolve", side_effect=error),
                ):
                    connector = connector_to(
                        "mongodb", 1, username=None, url_scheme="mongodb+srv", secrets=secrets
                    )
                    connector.endpoint.host = "cluster.example.test"
                    self.assertEqual(failure_of(connector).code, Code.DNS_FAILED)

    def test_mongodb_srv_name_that_is_too_short_is_dns_failed(self):
        connector = connector_to("mongodb", 1, url_scheme="mongodb+srv")
        connector.endpoint.host = "127.0.0.1"
        self.assertEqual(failure_of(connector).code, Code.DNS_FAILED)

    def test_mongodb_plain_password_is_sent_over_tls_only(self):
        for tls in ({}, {"tls": "false"}, {"tls": "true"}):
            with self.subTest(tls), Listener(say_garbage) as server:
                options = {"authMechanism": "PLAIN", **tls}
                failure = failure_of(connector_to("mongodb", server.port, options=options))
                self.assertEqual(failure.code, Code.TLS_FAILED)
                self.assertNotIn(PASSWORD.encode(), b"".join(server.received))

    def test_mongodb_through_a_tunnel_ignores_other_replica_set_members(self):
        elsewhere = HELLO | {"setName": "rs", "hosts": ["db.invalid:1"], "me": "db.invalid:1"}
        for scheme, options in ((None, {}), ("mongodb", {"replicaSet": "rs"})):
            with self.subTest(scheme), Listener(serve_mongo({"ismaster": elsewhere})) as server:
                fields = {"username": None, "url_scheme": scheme, "options": options}
                client = connector_to(
                    "mongodb", server.port, use_ssh_tunnel=True, **fields
                ).connect()
                self.assertEqual(client.address, ("localhost", server.port))
                client.close()

    def test_mongodb_host_cannot_be_a_list_socket_or_url(self):
        for host in ("a,b", "/tmp/a.sock", "%2Ftmp%2Fa.sock", "mongodb://other", "u:p@other"):
            with self.subTest(host):
                connector = connector_to("mongodb", 1)
                connector.endpoint.host = host
                self.assertEqual(failure_of(connector).code, Code.DNS_FAILED)

    def test_failed_mongodb_login_leaves_no_thread(self):
        before = {*threading.enumerate()}
        refusal = {"ok": 0, "code": 13, "errmsg": "words"}
        with Listener(serve_mongo({"listCollections": refusal})) as server:
            failure_of(connector_to("mongodb", server.port, username=None))
        for thread in {*threading.enumerate()} - before:
            if "pymongo" in thread.name:
                thread.join(10)
                self.assertFalse(thread.is_alive())
