"""Tests of connection tests over HTTP, run by a real worker against a real server."""

from unittest import mock

from datasources.connection_tests import waiting
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import WorkerTestCase
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.models import DataSource

CREDENTIALS = {"username": USERNAME, "password": PASSWORD}


class LiveTests(WorkerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())
        cls.destination = {"host": "127.0.0.1", "port": cls.server.port, "database_name": DATABASE}

    def setUp(self):
        super().setUp()
        self.data_source.apply_changes(self.destination, user=self.owner)
        self.data_source.set_credentials(CREDENTIALS, user=self.owner)

    def test_successful_test_keeps_the_data_source_active(self):
        before = self.stored()
        result = self.run_test()
        self.assertEqual((result["ok"], result["code"]), (True, "OK"))
        self.assertRegex(result["server_version"], r"^PostgreSQL \d+")
        stages = [stage["stage"] for stage in result["stages"]]
        self.assertEqual(stages, ["policy", "dns", "tcp", "login", "query"])
        self.assertTrue(all(stage["milliseconds"] >= 0 for stage in result["stages"]))
        warnings = {warning["code"]: warning["message"] for warning in result["warnings"]}
        self.assertEqual([*warnings], ["NOT_ENCRYPTED", "SERVER_NOT_VERIFIED"])
        self.assertIn("Turn on TLS", warnings["NOT_ENCRYPTED"])
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]), ("active", result))
        changed = {name for name, value in self.stored().items() if value != before[name]}
        self.assertEqual(changed, {"last_test", "has_changed_within_version"})

    def test_failed_test_sets_status_error_until_a_test_succeeds(self):
        self.data_source.set_credentials({"password": "wrong"}, user=self.owner)
        result = self.run_test()
        self.assertEqual((result["ok"], result["code"]), (False, "LOGIN_FAILED"))
        self.assertIn("username", result["message"])
        self.assertEqual(self.shown()["status"], "error")
        self.data_source.set_credentials(CREDENTIALS, user=self.owner)
        self.run_test()
        self.assertEqual(self.shown()["status"], "active")

    def test_secrets_are_removed_when_the_test_has_finished(self):
        result = self.run_test()
        test = ConnectionTest.objects.get(pk=result["test_id"])
        self.assertEqual((test.configuration, bytes(test.ciphertext), test.key_id), ({}, b"", ""))

    def test_result_is_at_the_location_of_the_answer(self):
        response = self.call("post", f"{self.path}/test", user=self.editor)
        self.assertEqual(response.status_code, 202)
        pending = response.json()["data"]
        self.assertEqual((pending["ok"], pending["code"], pending["stages"]), (None, None, []))
        waiting.wait_for(ConnectionTest.objects.get(pk=pending["test_id"]), 30)
        path = response["Location"].removeprefix("/api/v1")
        response = self.call("get", path, user=self.viewer)
        self.assertEqual(response.status_code, 200)
        self.assertTrue(response.json()["data"]["ok"])

    def test_draft_is_tested_and_not_stored(self):
        draft = {"type": "postgresql", **self.destination, "credentials": CREDENTIALS}
        url = f"postgresql://{USERNAME}@127.0.0.1:{self.server.port}/{DATABASE}"
        by_url = {"type": "postgresql", "connection_string": url}
        count = DataSource.objects.count()
        for body in (draft, {**by_url, "credentials": {"password": PASSWORD}}):
            with self.subTest(body=body):
                result = self.run_test("/data-sources", body)
                self.assertEqual(result["code"], "OK")
                self.assertIsNone(result["data_source_id"])
        self.assertEqual(DataSource.objects.count(), count)
        self.assertIsNone(self.shown()["last_test"])

    def test_draft_takes_missing_fields_and_secrets_from_its_basis(self):
        basis = {"based_on": self.data_source.pk}
        for changes, code in (
            ({}, "OK"),
            ({"database_name": "nowhere"}, "DATABASE_MISSING"),
            ({"credentials": {"password": "wrong"}}, "LOGIN_FAILED"),
            ({"credentials": {"password": None}}, "CREDENTIALS_UNSET"),
        ):
            with self.subTest(changes=changes):
                result = self.run_test("/data-sources", {**basis, **changes})
                self.assertEqual(result["code"], code)
        self.assertEqual(self.run_test()["code"], "OK")

    def test_draft_names_all_fields_that_are_not_set(self):
        result = self.run_test("/data-sources", {"type": "postgresql"})
        self.assertEqual(result["code"], "FIELDS_MISSING")
        self.assertEqual(result["details"], {"fields": ["host", "database_name"]})
        self.assertTrue(result["message"].endswith(" Not set: host, database_name."), result)

    def test_draft_sends_stored_secrets_to_another_destination_for_admins_only(self):
        before = self.stored()
        moved = {"based_on": self.data_source.pk, "connection_timeout": 29, "ssh_local_port": 9000}
        response = self.call("post", "/data-sources/test?wait=30", moved, self.editor)
        self.assert_error(response, 409, "CREDENTIALS_UNCONFIRMED")
        result = self.run_test("/data-sources", {**moved, "credentials": CREDENTIALS})
        self.assertEqual(result["code"], "OK")
        self.assertEqual(self.run_test("/data-sources", moved, self.admin)["code"], "OK")
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.run_test()["code"], "OK")

    # PATCH with ?verify=true

    def verify(self, changes, user=None, **options):
        path = f"{self.path}?verify=true"
        return self.call("patch", path, changes, user or self.editor, **options)

    def test_verified_update_that_connects_is_stored_with_its_test(self):
        response = self.verify({"connection_pool_size": 7, "description": "New"})
        self.assertEqual(response.status_code, 200, response.content)
        shown = response.json()["data"]
        self.assertEqual((shown["connection_pool_size"], shown["status"]), (7, "active"))
        self.assertEqual(shown["last_test"]["code"], "OK")
        self.assertEqual(shown["last_test"]["version"], shown["version"])
        self.assertEqual(shown["last_test"]["data_source_id"], self.data_source.pk)
        self.assertEqual(shown, self.shown())

    def test_verified_update_names_the_fields_that_it_would_unset(self):
        response = self.verify({"database_name": None})
        names = ("code", "fields", "stages", "test_id")
        error = self.assert_error(response, 422, "CONNECTION_FAILED", *names)
        self.assertEqual(error["details"]["fields"], ["database_name"])
        self.assertTrue(error["message"].endswith(" Not set: database_name."), error)

    def test_verified_update_that_does_not_connect_is_not_stored(self):
        before = self.stored()
        response = self.verify({"database_name": "nowhere", "description": "New"})
        names = ("code", "stages", "test_id")
        error = self.assert_error(response, 422, "CONNECTION_FAILED", *names)
        self.assertIn("database_name", error["message"])
        details = error["details"]
        self.assertEqual(details["code"], ["DATABASE_MISSING"])
        self.assertRegex(details["stages"][-1], r"^login: failed after [\d.]+ ms$")
        response = self.call("get", f"/connection-tests/{details['test_id'][0]}", user=self.viewer)
        self.assertEqual(response.json()["data"]["code"], "DATABASE_MISSING")
        self.assertEqual(self.stored(), before)

    def test_verified_update_that_moves_secrets_is_neither_tested_nor_stored(self):
        before = self.stored()
        response = self.verify({"ssh_local_port": 9000})
        self.assert_error(response, 409, "CREDENTIALS_UNCONFIRMED")
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.verify({"ssh_local_port": 9000}, self.admin).status_code, 200)

    def test_verified_dry_run_is_tested_and_not_stored(self):
        before = self.stored()
        path = f"{self.path}?verify=true&dry_run=true"
        response = self.call("patch", path, {"connection_pool_size": 7}, self.editor)
        self.assertEqual(response.json()["changes"], {"connection_pool_size": {"from": 5, "to": 7}})
        response = self.call("patch", path, {"database_name": "nowhere"}, self.editor)
        self.assertEqual(response.status_code, 422)
        self.assertEqual(self.stored(), before)

    def test_verified_update_is_409_if_the_destination_changed_during_the_test(self):
        def change_and_wait(test, seconds):
            other = DataSource.objects.get(pk=self.data_source.pk)
            other.apply_changes({"query_timeout": 9}, user=self.admin)
            waiting.wait_for(test, seconds)

        with mock.patch("datasources.connection_tests.verification.wait_for", change_and_wait):
            response = self.verify({"connection_pool_size": 7})
        self.assert_error(response, 409, "CONFLICT")
        self.assertEqual(self.stored()["connection_pool_size"], 5)

    def test_verified_update_is_stored_if_only_other_fields_changed_during_the_test(self):
        def rename_and_wait(test, seconds):
            other = DataSource.objects.get(pk=self.data_source.pk)
            other.apply_changes({"name": "Renamed"}, user=self.admin)
            waiting.wait_for(test, seconds)

        with mock.patch("datasources.connection_tests.verification.wait_for", rename_and_wait):
            response = self.verify({"connection_pool_size": 7})
        shown = response.json()["data"]
        self.assertEqual((shown["name"], shown["connection_pool_size"]), ("Renamed", 7))
