"""Cloud warehouses: what their drivers must not do. Most need requirements-cloud.txt."""

import json
import os
import unittest
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.connectors import CONNECTORS
from datasources.connections.failures import Code
from datasources.connections.sandbox.environment import remove_driver_variables
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import (
    LOOPBACK_POLICY,
    PASSWORD,
    configuration_to,
    connector_to,
    failure_of,
)
from datasources.connections.testing.fake_http import serve_http
from datasources.connections.testing.listeners import Listener, keep_silent, say_garbage
from rivergen.testing.services import free_port


def needs(name: str):
    installed = CONNECTORS[name].is_driver_installed()
    return unittest.skipUnless(installed, "pip install -r requirements-cloud.lock")


class EnvironmentTests(SimpleTestCase):
    def test_only_environment_variables_that_drivers_read_are_removed(self):
        misleading = {
            **{"HTTPS_PROXY": "a", "http_proxy": "a", "ALL_PROXY": "a", "SOCKS_PROXY": "a"},
            **{"BIGQUERY_EMULATOR_HOST": "a", "GOOGLE_APPLICATION_CREDENTIALS": "a"},
            **{"SNOWFLAKE_HOME": "a", "SF_OCSP_RESPONSE_CACHE_SERVER_URL": "a"},
            **{"DATABRICKS_TOKEN": "a", "TDSHOST": "a", "NETRC": "a"},
        }
        kept = {"PATH": "a", "SSL_CERT_FILE": "a", "DATABASE_URL": "a", "SFTP": "a"}
        with mock.patch.dict(os.environ, misleading | kept, clear=True):
            remove_driver_variables()
            self.assertEqual({name for name in kept if os.environ[name] != "a"}, set())
            self.assertNotIn("a", {os.environ.get(name) for name in misleading})
            self.assertEqual((os.environ["NO_PROXY"], os.environ["NETRC"]), ("*", os.devnull))


@needs("trino")
class TrinoTests(SimpleTestCase):
    def test_trino_secrets_are_never_sent_without_tls(self):
        for secret in ("password", "token"):
            with self.subTest(secret), Listener(say_garbage) as server:
                connector = connector_to("trino", server.port, secrets={secret: PASSWORD})
                self.assertEqual(failure_of(connector).code, Code.TLS_FAILED)
                self.assertNotIn(b"POST", b"".join(server.received))

    def test_trino_server_cannot_redirect_to_another_address(self):
        with Listener(keep_silent) as target:
            elsewhere = f"http://127.0.0.1:{target.port}/v1/statement/1"
            page = {"id": "1", "nextUri": elsewhere, "infoUri": elsewhere, "stats": {}}
            for status, header, body in (
                (200, "Content-Type: application/json", json.dumps(page)),
                (307, f"Location: {elsewhere}", ""),
            ):
                answer = (status, header, body)
                with self.subTest(status), Listener(serve_http(lambda _, a=answer: a)) as server:
                    connector = connector_to("trino", server.port, secrets={})
                    self.assertEqual(failure_of(connector).code, Code.PROTOCOL_FAILED)
            self.assertEqual(target.received, [])

    def test_trino_without_secrets_is_credentials_unset_only_if_refused(self):
        for status, code in (
            (401, Code.CREDENTIALS_UNSET),
            (403, Code.LOGIN_FAILED),  # nobody was asked
            (503, Code.SERVER_BUSY),
            (404, Code.PROTOCOL_FAILED),
        ):
            answer = (status, "Content-Type: text/plain", "words")
            with self.subTest(status), Listener(serve_http(lambda _, a=answer: a)) as server:
                connector = connector_to("trino", server.port, secrets={})
                self.assertEqual(failure_of(connector).code, code)


@needs("databricks")
class DatabricksTests(SimpleTestCase):
    def test_databricks_without_token_or_http_path_sends_nothing(self):
        with Listener(keep_silent) as server:
            for fields, code in (
                ({"secrets": {}, "options": {"http_path": "/sql/1"}}, Code.CREDENTIALS_UNSET),
                ({}, Code.FIELDS_MISSING),
            ):
                configuration = configuration_to("databricks", server.port, **fields)
                outcome = attempt(configuration, LOOPBACK_POLICY, Stages())
                self.assertEqual(outcome["code"], code)
            self.assertEqual(server.received, [])


@needs("snowflake")
class SnowflakeTests(SimpleTestCase):
    def test_snowflake_uses_no_proxy(self):
        proxy = f"http://127.0.0.1:{free_port()}"
        with (
            Listener(say_garbage) as server,
            mock.patch.dict(
                os.environ,
                {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": ""},
            ),
        ):
            failure = failure_of(connector_to("snowflake", server.port))
            self.assertEqual(failure.code, Code.TLS_FAILED)
            self.assertTrue(server.received)


class FakeError(Exception):
    """An error with the attributes that drivers of warehouses give theirs."""

    def __init__(self, text: str = "Worte", **attributes: object) -> None:
        super().__init__(text)
        vars(self).update(attributes)


class ErrorNumberTests(SimpleTestCase):
    def test_errors_of_warehouses_map_to_failure_codes_before_and_after_the_login(self):
        denied = "[INSUFFICIENT_PERMISSIONS] Worte"
        for name, error, login, statement in (
            ("trino", FakeError(error_name="CATALOG_NOT_FOUND"), "DATABASE_MISSING", None),
            ("trino", FakeError(error_name="SCHEMA_NOT_FOUND"), "SCHEMA_MISSING", None),
            (
                *("trino", FakeError(error_name="PERMISSION_DENIED")),
                *("DATABASE_FORBIDDEN", "PERMISSION_DENIED"),
            ),
            (
                *("trino", FakeError(error_name="EXCEEDED_TIME_LIMIT")),
                *("DEADLINE", "QUERY_TIMEOUT"),
            ),
            ("trino", FakeError("error 503: error 401"), "SERVER_BUSY", None),
            ("snowflake", FakeError(errno=390100), "LOGIN_FAILED", "SCHEMA_UNREADABLE"),
            ("snowflake", FakeError(errno=390422), "ADDRESS_REFUSED", "SCHEMA_UNREADABLE"),
            ("snowflake", FakeError(errno=390201), "DATABASE_MISSING", "SCHEMA_UNREADABLE"),
            ("snowflake", FakeError(errno=251011), "DEADLINE", "SCHEMA_UNREADABLE"),
            ("snowflake", FakeError(errno=3001), "QUERY_FAILED", "PERMISSION_DENIED"),
            ("snowflake", FakeError(errno=630), "QUERY_FAILED", "QUERY_TIMEOUT"),
            (
                *("bigquery", FakeError(code=403, errors=[{"reason": "accessDenied"}])),
                *("DATABASE_FORBIDDEN", "PERMISSION_DENIED"),
            ),
            (
                *("bigquery", FakeError(code=403, errors=[{"reason": "rateLimitExceeded"}])),
                *("SERVER_BUSY", None),
            ),
            ("bigquery", FakeError(code=401), "LOGIN_FAILED", None),
            ("bigquery", FakeError(code=404), "DATABASE_MISSING", None),
            ("databricks", FakeError(context={"http-code": 403}), "LOGIN_FAILED", None),
            ("databricks", FakeError(context={"http-code": 404}), "OPTION_INVALID", None),
            ("databricks", FakeError(denied), "DATABASE_FORBIDDEN", "PERMISSION_DENIED"),
            ("databricks", FakeError("[NO_SUCH_CATALOG_EXCEPTION] w"), "DATABASE_MISSING", None),
            ("databricks", FakeError(), "QUERY_FAILED", "SCHEMA_UNREADABLE"),
        ):
            with self.subTest(name, error=vars(error) or str(error)):
                connector = connector_to(name, 1)
                self.assertEqual(connector.explain(error), login)
                code = connector.explain_statement(error) or "SCHEMA_UNREADABLE"
                self.assertEqual(code, statement or login)


class BigQueryKeyTests(SimpleTestCase):
    def test_bigquery_key_with_other_token_uri_or_type_is_refused(self):
        for change in (
            {"token_uri": "https://127.0.0.2/token"},
            {"type": "external_account"},
            {"type": "authorized_user"},
            {"type": None},
        ):
            with self.subTest(change):
                self.assertEqual(failure_of(bigquery(KEY | change)).code, expected())

    def test_bigquery_secret_that_is_not_a_key_is_refused(self):
        for text in ("", "[]", "nonsense", "{}"):
            with self.subTest(text):
                connector = connector_to(
                    "bigquery",
                    1,
                    database_name="my-project",
                    secrets={"service_account_json": text},
                )
                code = Code.LOGIN_FAILED if text else Code.CREDENTIALS_UNSET
                self.assertEqual(failure_of(connector).code, expected(code))

    def test_bigquery_project_with_path_characters_is_refused(self):
        for name in ("../other", "a/b", "a?b", ""):
            with self.subTest(name):
                connector = bigquery(KEY, database_name=name)
                self.assertEqual(failure_of(connector).code, expected(Code.DATABASE_MISSING))

    @needs("bigquery")
    def test_bigquery_key_cannot_name_hosts(self):
        key = bigquery(KEY | {"universe_domain": "other.example", "auth_uri": "x"})._key()
        self.assertEqual(key["token_uri"], "https://oauth2.googleapis.com/token")
        self.assertNotIn("universe_domain", key)
        session = bigquery(KEY)._session()
        self.assertEqual((session.trust_env, session.max_redirects), (False, 0))
        self.assertEqual(session.credentials.universe_domain, "googleapis.com")


KEY = {
    "type": "service_account",
    "client_email": "reader@my-project.iam.gserviceaccount.com",
    "private_key": rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode(),
    "token_uri": "https://oauth2.googleapis.com/token",
}


def bigquery(key: dict, database_name: str = "my-project"):
    secrets = {"service_account_json": json.dumps(key)}
    return connector_to("bigquery", 1, database_name=database_name, secrets=secrets)


def expected(code: Code = Code.LOGIN_FAILED) -> Code:
    installed = CONNECTORS["bigquery"].is_driver_installed()
    return code if installed else Code.DRIVER_MISSING
