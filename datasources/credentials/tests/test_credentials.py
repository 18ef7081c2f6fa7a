"""/data-sources/{id}/credentials: secrets are stored and cleared, and never returned."""

import json

from django.db import connection
from django.utils import timezone

from datasources.connections.connectors.base import CREDENTIAL_FIELDS, SECRET_FIELDS
from datasources.connections.testing.private_keys import private_key, service_account
from datasources.credentials.testing import CredentialsEndpointTestCase

UNSET = {"is_set": False, "confirmed": False, "set_at": None, "set_by_user_id": None}
VALID = {"service_account_json": service_account(), "ssh_private_key": private_key()}
PUBLIC_KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP me@here",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY me@here",
    "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
)
MASKS = (
    *("***", "********", "XXXX", "xxxxxxxx", "••••••", "--------", "**Pass**", " *** "),
    *("{{ password }}", "[REDACTED]", "<hidden>"),
)


class CredentialsTests(CredentialsEndpointTestCase):
    def test_get_of_credentials_shows_unset_fields(self):
        response = self.send("get", user=self.viewer)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(
            response.json()["data"], {"username": None, **dict.fromkeys(SECRET_FIELDS, UNSET)}
        )
        self.assertEqual(response["ETag"], '"1"')

    def test_get_of_credentials_shows_who_set_a_secret_and_when(self):
        started_at = timezone.now()
        response = self.send("put", {"username": "reader", "password": "hunter2"})
        self.assertEqual(response.status_code, 200)
        data = response.json()["data"]
        self.assertEqual(data, self.shown())
        self.assertEqual((data["username"], data["token"]), ("reader", UNSET))
        set_at = self.read_time(data["password"].pop("set_at"))
        self.assertTrue(started_at <= set_at <= timezone.now())
        self.assertEqual(
            data["password"],
            {"is_set": True, "confirmed": True, "set_by_user_id": self.editor.pk},
        )
        self.assertEqual(self.secrets(), {"password": "hunter2"})

    def test_put_of_credentials_clears_fields_that_are_left_out(self):
        self.send("put", {"username": "reader", "password": "hunter2", "ssh_password": "x"})
        self.send("put", {"password": "hunter3"})
        self.assertIsNone(self.stored()["username"])
        self.assertEqual(self.secrets(), {"password": "hunter3"})
        self.send("put", {})
        self.assertEqual(self.secrets(), {})

    def test_patch_of_credentials_keeps_fields_that_are_left_out(self):
        self.send("put", {"username": "reader", "password": "hunter2", "ssh_password": "x"})
        self.send("patch", {"ssh_password": None, "ssh_private_key_passphrase": "p"})
        self.assertEqual(self.stored()["username"], "reader")
        self.assertEqual(self.secrets(), {"password": "hunter2", "ssh_private_key_passphrase": "p"})

    def test_patch_of_credentials_accepts_a_merge_patch(self):
        self.send("put", {"password": "hunter2"})
        response = self.send(
            "patch", b'{"password": null}', content_type="application/merge-patch+json"
        )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.secrets(), {})

    def test_delete_clears_all_credentials(self):
        self.send("put", {"username": "reader", "password": "hunter2"})
        response = self.send("delete")
        self.assertEqual((response.status_code, response.content), (204, b""))
        self.assertEqual(response["ETag"], '"3"')
        self.assertEqual(self.shown(), {"username": None, **dict.fromkeys(SECRET_FIELDS, UNSET)})

    def test_data_source_shows_whether_secrets_are_set(self):
        source_path = f"/data-sources/{self.data_source.pk}"
        for method, body, status in (
            ("put", {"username": "reader"}, "unset"),
            ("patch", {"password": "hunter2"}, "set"),
            ("patch", {"ssh_password": "x"}, "set"),
            ("patch", {"password": None}, "set"),
            ("delete", None, "unset"),
        ):
            with self.subTest(method=method, body=body):
                self.assertIn(self.send(method, body).status_code, (200, 204))
                data = self.call("get", source_path, user=self.viewer).json()["data"]
                self.assertEqual(data["credentials_status"], status)
                found = self.call(
                    "get", f"/data-sources?credentials_status={status}", user=self.viewer
                )
                self.assertEqual(len(found.json()["data"]), 1)

    def test_changing_credentials_records_a_revision_without_values(self):
        for method, body, changes in (
            ("put", {"username": "reader"}, {"username": (None, "reader")}),
            (
                "patch",
                {"password": "hunter2"},
                {"password": ("unset", "set"), "credentials_status": ("unset", "set")},
            ),
            ("patch", {"password": "hunter2"}, {"password": ("set", "set")}),
            ("patch", {"ssh_password": "x"}, {"ssh_password": ("unset", "set")}),
            ("put", {"ssh_password": "y"}, None),
            ("delete", None, None),
        ):
            with self.subTest(method=method, body=body):
                before = self.stored()
                self.send(method, body, headers={"X-Request-ID": "a-request"})
                after = self.stored()
                self.assertEqual(after["version"], before["version"] + 1)
                self.assertGreater(after["updated_at"], before["updated_at"])
                self.assertEqual(after["updated_by_id"], self.editor.pk)
                revision = self.data_source.revisions.first()
                self.assertEqual(
                    (revision.version, revision.origin, revision.request_id, revision.changed_by),
                    (after["version"], "api", "a-request", self.editor),
                )
                if changes is not None:
                    expected = {f: {"from": a, "to": b} for f, (a, b) in changes.items()}
                    self.assertEqual(revision.changes, expected)
        self.assertEqual(
            self.newest_changes(),
            {
                "ssh_password": {"from": "set", "to": "unset"},
                "credentials_status": {"from": "set", "to": "unset"},
            },
        )

    def test_clearing_unset_credentials_changes_nothing(self):
        for method, body in (("put", {}), ("patch", {"password": None}), ("delete", None)):
            with self.subTest(method=method):
                self.assertIn(self.send(method, body).status_code, (200, 204))
                self.assertEqual(self.stored()["version"], 1)

    def test_credentials_endpoint_refuses_query_parameters(self):
        self.assert_error(
            self.call("get", f"{self.path}?password=x", user=self.viewer),
            400,
            "BAD_REQUEST",
            "password",
        )

    def test_invalid_username_has_one_error_message(self):
        error = self.assert_refused("patch", {"username": "a\0"}, "username")
        self.assertEqual(error["details"]["username"], ["Null characters are not allowed."])

    def test_delete_clears_secrets_that_the_type_no_longer_uses(self):
        self.send("put", {"password": "hunter2", "ssh_password": "x"})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE datasources_datasource SET type = 'databricks'")
        self.assertEqual(self.send("delete").status_code, 204)
        self.assertEqual((self.secrets(), self.stored()["credentials_status"]), ({}, "unset"))

    def test_empty_patch_of_credentials_changes_nothing(self):
        before = self.stored()
        self.assertEqual(self.send("patch", {}).status_code, 200)
        self.assertEqual(self.stored(), before)

    def test_stale_if_match_leaves_credentials_unchanged(self):
        self.send("put", {"password": "hunter2"})
        before = self.stored()
        for method, path, body, user in (
            ("put", self.path, {"password": "x"}, self.editor),
            ("patch", self.path, {"password": "x"}, self.editor),
            ("delete", self.path, None, self.editor),
            ("post", f"{self.path}/confirm", None, self.admin),
        ):
            with self.subTest(method=method):
                stale = self.call(method, path, body, user, headers={"If-Match": '"1"'})
                self.assert_error(stale, 412, "PRECONDITION_FAILED")
                self.assertEqual(stale["ETag"], '"2"')
                self.assertEqual(self.stored(), before)
        response = self.send("patch", {"password": "x"}, headers={"If-Match": '"2"'})
        self.assertEqual((response.status_code, response["ETag"]), (200, '"3"'))

    def test_secret_is_stored_unchanged(self):
        for value in (
            " ",
            " pass\tword ",
            "pässwörd🔑",
            "null",
            "0",
            "{{",
            "a" * 65_536,
            "\x01",
            f"{'*' * 65_535}!",
        ):
            with self.subTest(value=value[:20]):
                self.assertEqual(self.send("put", {"password": value}).status_code, 200)
                self.assertEqual(self.secrets(), {"password": value})

    def test_secret_must_be_a_non_empty_string_of_limited_size(self):
        self.send("put", {"password": "hunter2"})
        for value in ("", 7, True, [], {}, {"is_set": True}, "a\0b", "é" * 32_769, "a" * 65_537):
            with self.subTest(value=str(value)[:20]):
                self.assert_refused("put", {"password": value}, "password")
                self.assert_refused("patch", {"password": value}, "password")
        self.assertEqual(self.secrets(), {"password": "hunter2"})

    def test_secret_with_lone_surrogate_is_refused(self):
        self.assert_refused("put", b'{"password": "\\ud800"}')

    def test_mask_as_secret_is_refused(self):
        for mask in MASKS:
            with self.subTest(mask=mask):
                error = self.assert_refused("put", {"password": mask}, "password")
                self.assertNotIn(mask, json.dumps(error))

    def test_put_of_credentials_refuses_the_body_of_get(self):
        self.send("put", {"username": "reader", "password": "hunter2"})
        self.assert_refused("put", self.shown(), *SECRET_FIELDS)
        self.assertEqual(self.secrets(), {"password": "hunter2"})

    def test_invalid_username_is_refused(self):
        for value in ("", 7, "a" * 256, "a\0b", []):
            with self.subTest(value=str(value)[:20]):
                self.assert_refused("patch", {"username": value}, "username")

    def test_unknown_credential_is_refused_with_the_nearest_name(self):
        error = self.assert_refused("patch", {"pasword": "hunter2", "host": "x"}, "host", "pasword")
        self.assertIn("password", error["details"]["pasword"][0])
        self.assertNotIn("hunter2", json.dumps(error))

    def test_service_account_that_is_no_json_object_is_refused(self):
        self.use_type("bigquery")
        for value in ("hunter2", "[]", "1", "null", '{"a": NaN}', '{"a": 1', "[" * 60_000):
            with self.subTest(value=value[:20]):
                error = self.assert_refused(
                    "put", {"service_account_json": value}, "service_account_json"
                )
                self.assertNotIn("hunter2", json.dumps(error))
        response = self.send("put", {"service_account_json": service_account()})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.secrets(), {"service_account_json": service_account()})

    def test_public_key_as_private_key_is_refused(self):
        for value in PUBLIC_KEYS:
            with self.subTest(value=value[:20]):
                self.assert_refused("put", {"ssh_private_key": value}, "ssh_private_key")

    def test_each_type_accepts_only_its_own_credentials(self):
        ssh = {"ssh_password", "ssh_private_key", "ssh_private_key_passphrase"}
        login = {"username", "password"}
        for type_name, fitting in (
            *((name, login | ssh) for name in ("postgresql", "mysql", "mssql", "oracle")),
            *((name, login | ssh) for name in ("clickhouse", "mongodb", "redshift")),
            *((name, login | ssh | {"token"}) for name in ("snowflake", "trino")),
            ("databricks", {"token"} | ssh),
            ("bigquery", {"service_account_json"}),
            *((name, set()) for name in ("sqlite", "duckdb", "csv", "parquet", "json")),
        ):
            self.use_type(type_name)
            for field in CREDENTIAL_FIELDS:
                value = VALID.get(field, "hunter2")
                for sent in (value, None):
                    with self.subTest(type=type_name, field=field, sent=sent):
                        if field in fitting:
                            response = self.send("patch", {field: sent})
                            self.assertEqual(response.status_code, 200, response.content)
                        else:
                            error = self.assert_refused("patch", {field: sent}, field)
                            self.assertIn(type_name, error["details"][field][0])
