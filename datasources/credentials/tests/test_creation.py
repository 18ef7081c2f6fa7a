"""Tests of `credentials` in POST /data-sources: stored with the data source, and never shown."""

import json
from typing import Any
from unittest import mock

from django.core.exceptions import ValidationError

from datasources.credentials.cipher import KeyRing
from datasources.credentials.models import Credential
from datasources.credentials.testing import PASSWORD
from datasources.models import DataSource, DataSourceRevision
from datasources.models.changing import size_of
from datasources.testing import DataSourceTestCase
from organizations.models import Organization

ORDERS = {"name": "Orders", "type": "mysql", "host": "db.example.com"}
URL = "mysql://reader:hunter4@db.example.com/orders"
GIVEN_TWICE = "The connection string has one, too. Give it in one place only."


class CreationTests(DataSourceTestCase):
    def create(self, credentials: Any, **fields: Any) -> Any:
        body = {**ORDERS, **fields, "credentials": credentials}
        return self.call("post", "/data-sources", body, self.editor)

    def created(self, credentials: Any, **fields: Any) -> DataSource:
        response = self.create(credentials, **fields)
        self.assertEqual(response.status_code, 201, response.content)
        return DataSource.objects.get(pk=response.json()["data"]["id"])

    def counts(self) -> list[int]:
        models: Any = (DataSource, DataSourceRevision, Credential)
        return [model.objects.count() for model in models]

    def assert_refused(self, credentials: Any, *names: str, **fields: Any) -> dict[str, Any]:
        """Assert a 400 with these details, which stores nothing and repeats no secret."""
        before = self.counts()
        response = self.create(credentials, **fields)
        error = self.assert_error(response, 400, "BAD_REQUEST", *names)
        self.assertNotIn("hunter", response.content.decode())
        self.assertEqual(self.counts(), before)
        details: dict[str, Any] = error["details"]
        return details

    def test_editor_creates_a_data_source_with_credentials_as_version_1(self):
        before = self.counts()
        data_source = self.created({"username": "reader", "password": PASSWORD})
        self.assertEqual(data_source.version, 1)
        self.assertEqual(data_source.credentials_status, "set")
        self.assertEqual(data_source.username, "reader")
        self.assertEqual(dict(data_source.credentials.open()), {"password": PASSWORD})
        credential = data_source.credentials.get()
        self.assertEqual((credential.set_by, credential.is_confirmed), (self.editor, True))
        self.assertEqual(self.counts(), [count + 1 for count in before])

    def test_revision_of_the_creation_has_the_state_of_the_secrets(self):
        data_source = self.created(
            {"username": "reader", "password": PASSWORD, "ssh_password": "x"}
        )
        [revision] = data_source.revisions.all()
        changes = revision.changes
        unset_to_set = {"from": "unset", "to": "set"}
        self.assertEqual((changes["password"], changes["ssh_password"]), (unset_to_set,) * 2)
        self.assertEqual(changes["username"], {"from": None, "to": "reader"})
        self.assertEqual(changes["credentials_status"], {"from": None, "to": "set"})
        self.assertEqual(data_source.history_bytes, size_of(changes))

    def test_answer_shows_no_credentials(self):
        body = self.create({"username": "reader", "password": PASSWORD}).json()
        self.assertNotIn("credentials", body["data"])
        self.assertNotIn("hunter", json.dumps(body))
        self.assertEqual(body["data"]["credentials_status"], "set")

    def test_repeated_creation_with_a_key_stores_nothing_twice(self):
        headers = {"Idempotency-Key": "orders"}
        body = {**ORDERS, "credentials": {"password": PASSWORD}}
        first = self.call("post", "/data-sources", body, self.editor, headers=headers)
        before = self.counts()
        again = self.call("post", "/data-sources", body, self.editor, headers=headers)
        self.assertEqual((again.status_code, again.content), (201, first.content))
        self.assertEqual(self.counts(), before)
        body["credentials"]["password"] = "another"
        other = self.call("post", "/data-sources", body, self.editor, headers=headers)
        self.assertEqual(other.status_code, 422)

    def test_credentials_that_are_empty_or_null_leave_none(self):
        for number, credentials in enumerate(({}, {"password": None, "username": None})):
            with self.subTest(credentials=credentials):
                data_source = self.created(credentials, name=f"n{number}")
                self.assertEqual(data_source.credentials_status, "unset")
                self.assertEqual(data_source.credentials.count(), 0)

    def test_username_alone_is_no_secret(self):
        data_source = self.created({"username": "reader"})
        self.assertEqual(data_source.credentials_status, "unset")
        self.assertEqual(data_source.username, "reader")

    def test_connection_string_and_credentials_complete_each_other(self):
        data_source = self.created({"ssh_password": "x"}, connection_string=URL)
        secrets = {"password": "hunter4", "ssh_password": "x"}
        self.assertEqual(dict(data_source.credentials.open()), secrets)
        self.created({"username": "reader"}, connection_string=URL, name="same user")

    def test_secret_of_the_connection_string_may_not_be_given_twice(self):
        for credentials, field in (
            ({"password": PASSWORD}, "password"),
            ({"password": "hunter4"}, "password"),
        ):
            with self.subTest(credentials=credentials):
                name = f"credentials.{field}"
                details = self.assert_refused(credentials, name, connection_string=URL)
                self.assertEqual(details[name], [GIVEN_TWICE])

    def test_password_of_a_databricks_string_is_its_token(self):
        url = "databricks://token:hunter5@dbc.example.com/main?http_path=x"
        fields = {"type": "databricks", "connection_string": url}
        self.assert_refused({"token": "hunter6"}, "credentials.token", **fields)

    def test_invalid_credentials_are_reported_by_field_with_all_other_errors(self):
        for credentials, names in (
            ({"password": ""}, ["password"]),
            ({"password": "********"}, ["password"]),
            (
                {"password": 7, "ssh_private_key": "ssh-ed25519 hunter"},
                ["password", "ssh_private_key"],
            ),
            ({"password": {"from_env": "HUNTER"}}, ["password"]),
            ({"token": "hunter"}, ["token"]),
            ({"username": ["reader"]}, ["username"]),
            ({"pasword": "hunter"}, ["pasword"]),
        ):
            with self.subTest(credentials=credentials):
                flat = [f"credentials.{name}" for name in names]
                self.assert_refused(credentials, *flat)
                self.assert_refused(credentials, *flat, "port", "name", port="5", name="")
                taken = {"name": self.data_source.name}
                self.assert_refused(credentials, *flat, "name", **taken)
        for credentials in (None, "hunter2", [{"password": "hunter2"}], 1, True):
            with self.subTest(credentials=credentials):
                details = self.assert_refused(credentials, "credentials")
                self.assertEqual(details, {"credentials": ["Must be a JSON object."]})

    def test_without_a_valid_type_only_the_type_is_at_fault(self):
        for type_ in ("nonsense", None, 1):
            self.assert_refused({"password": "hunter2", "token": "hunter2"}, "type", type=type_)

    def test_refused_creation_leaves_no_secret(self):
        before = self.counts()
        Organization.objects.filter(pk=self.acme.pk).update(quota_data_sources=1)
        response = self.create({"password": PASSWORD})
        self.assert_error(response, 409, "QUOTA_EXCEEDED", "data_sources")
        Organization.objects.filter(pk=self.acme.pk).update(quota_data_sources=None)
        details = self.assert_refused({"password": PASSWORD}, "name", name=self.data_source.name)
        self.assertEqual(len(details["name"]), 1)
        with mock.patch.object(KeyRing, "seal", side_effect=RuntimeError):
            self.assertEqual(self.create({"password": PASSWORD}).status_code, 500)
        self.assertEqual(self.counts(), before)

    def test_viewer_cannot_create_with_credentials(self):
        body = {**ORDERS, "credentials": {"password": PASSWORD}}
        response = self.call("post", "/data-sources", body, self.viewer)
        self.assert_error(response, 403, "FORBIDDEN")

    def test_update_with_credentials_names_their_endpoint(self):
        body = {"credentials": {"password": "hunter2"}}
        response = self.call("patch", self.path, body, self.editor)
        error = self.assert_error(response, 400, "BAD_REQUEST", "credentials")
        self.assertIn(f"PUT /api/v1{self.path}/credentials", str(error["details"]))

    def test_draft_refuses_what_a_creation_refuses(self):
        for credentials in ({"password": PASSWORD}, {"token": "x"}, {"username": 1}, None):
            body = {**ORDERS, "connection_string": URL, "credentials": credentials}
            created = self.call("post", "/data-sources", body, self.editor).json()["error"]
            draft = self.call("post", "/data-sources/test", body, self.editor).json()["error"]
            self.assertEqual(draft["details"], created["details"])

    def test_model_checks_the_credentials_of_a_new_data_source(self):
        before = self.counts()
        for credentials, field in (
            ({"token": "x"}, "token"),
            ({"password": ""}, "password"),
            ({"password": "x"}, "password"),
            ({"username": "\0"}, "username"),
        ):
            url = URL if credentials == {"password": "x"} else None
            new = DataSource(workspace=self.workspace, connection_string=url, **ORDERS)
            with self.subTest(credentials), self.assertRaises(ValidationError) as caught:
                new.save(credentials=credentials)
            self.assertEqual([*caught.exception.message_dict], [field])
        self.assertEqual(self.counts(), before)
