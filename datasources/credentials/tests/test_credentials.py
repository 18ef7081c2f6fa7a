"""/data-sources/{id}/credentials: entered, cleared, confirmed over HTTP, and never shown."""

import json
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.utils import timezone

from datasources.connections.connectors.base import CREDENTIAL_FIELDS, SECRET_FIELDS
from datasources.credentials.cipher import key_id
from datasources.credentials.models import Credential
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.models import User

UNSET = {"is_set": False, "confirmed": False, "set_at": None, "set_by_user_id": None}
SERVICE_ACCOUNT = json.dumps({"type": "service_account", "private_key": "hunter2"})
PUBLIC_KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP me@here",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY me@here",
    "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
)
MASKS = (
    *("***", "********", "XXXX", "xxxxxxxx", "••••••", "--------", "**Pass**", " *** "),
    *("{{ password }}", "[REDACTED]", "<hidden>"),
)


class CredentialsTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.path = f"/data-sources/{self.data_source.pk}/credentials"

    def send(self, method: str, body: Any = None, user: User | None = None, **extra: Any) -> Any:
        return self.call(method, self.path, body, user or self.editor, **extra)

    def shown(self) -> dict[str, Any]:
        data: dict[str, Any] = self.send("get", user=self.viewer).json()["data"]
        return data

    def secrets(self) -> dict[str, str]:
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        return {**data_source.credentials.open()}

    def newest_changes(self) -> dict[str, Any]:
        changes: dict[str, Any] = self.data_source.revisions.all()[0].changes
        return changes

    def assert_refused(self, method: str, body: Any, *fields: str) -> dict[str, Any]:
        """Check that a body is refused for these fields, and that nothing was stored."""
        before = self.stored(), [*Credential.objects.values()]
        error = self.assert_error(self.send(method, body), 400, "BAD_REQUEST", *fields)
        self.assertEqual((self.stored(), [*Credential.objects.values()]), before)
        return error

    def test_shows_that_nothing_is_set(self):
        response = self.send("get", user=self.viewer)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(
            response.json()["data"], {"username": None, **dict.fromkeys(SECRET_FIELDS, UNSET)}
        )
        self.assertEqual(response["ETag"], '"1"')

    def test_says_who_set_what_and_when(self):
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

    def test_put_clears_what_it_does_not_name(self):
        self.send("put", {"username": "reader", "password": "hunter2", "ssh_password": "x"})
        self.send("put", {"password": "hunter3"})
        self.assertIsNone(self.stored()["username"])
        self.assertEqual(self.secrets(), {"password": "hunter3"})
        self.send("put", {})
        self.assertEqual(self.secrets(), {})

    def test_patch_leaves_what_it_does_not_name(self):
        self.send("put", {"username": "reader", "password": "hunter2", "ssh_password": "x"})
        self.send("patch", {"ssh_password": None, "ssh_private_key_passphrase": "p"})
        self.assertEqual(self.stored()["username"], "reader")
        self.assertEqual(self.secrets(), {"password": "hunter2", "ssh_private_key_passphrase": "p"})

    def test_patch_takes_a_merge_patch(self):
        self.send("put", {"password": "hunter2"})
        response = self.send(
            "patch", b'{"password": null}', content_type="application/merge-patch+json"
        )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.secrets(), {})

    def test_delete_clears_everything(self):
        self.send("put", {"username": "reader", "password": "hunter2"})
        response = self.send("delete")
        self.assertEqual((response.status_code, response.content), (204, b""))
        self.assertEqual(response["ETag"], '"3"')
        self.assertEqual(self.shown(), {"username": None, **dict.fromkeys(SECRET_FIELDS, UNSET)})

    def test_the_data_source_says_whether_secrets_are_set(self):
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

    def test_each_change_is_a_version_that_says_which_but_not_what(self):
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

    def test_clearing_what_is_not_set_is_no_change(self):
        for method, body in (("put", {}), ("patch", {"password": None}), ("delete", None)):
            with self.subTest(method=method):
                self.assertIn(self.send(method, body).status_code, (200, 204))
                self.assertEqual(self.stored()["version"], 1)

    def test_refuses_query_parameters(self):
        self.assert_error(
            self.call("get", f"{self.path}?password=x", user=self.viewer),
            400,
            "BAD_REQUEST",
            "password",
        )

    def test_says_what_is_wrong_once(self):
        error = self.assert_refused("patch", {"username": "a\0"}, "username")
        self.assertEqual(error["details"]["username"], ["Null characters are not allowed."])

    def test_clears_what_does_not_fit_the_type_any_more(self):
        self.send("put", {"password": "hunter2", "ssh_password": "x"})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE datasources_datasource SET type = 'databricks'")
        self.assertEqual(self.send("delete").status_code, 204)
        self.assertEqual((self.secrets(), self.stored()["credentials_status"]), ({}, "unset"))

    def test_an_empty_patch_changes_nothing(self):
        before = self.stored()
        self.assertEqual(self.send("patch", {}).status_code, 200)
        self.assertEqual(self.stored(), before)

    def test_honours_if_match(self):
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

    def test_keeps_values_to_the_letter(self):
        for value in (
            " ",
            " pass word\n",
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

    def test_refuses_what_is_no_secret(self):
        self.send("put", {"password": "hunter2"})
        for value in ("", 7, True, [], {}, {"is_set": True}, "a\0b", "é" * 32_769, "a" * 65_537):
            with self.subTest(value=str(value)[:20]):
                self.assert_refused("put", {"password": value}, "password")
                self.assert_refused("patch", {"password": value}, "password")
        self.assertEqual(self.secrets(), {"password": "hunter2"})

    def test_refuses_lone_surrogates(self):
        self.assert_refused("put", b'{"password": "\\ud800"}')

    def test_refuses_masks(self):
        for mask in MASKS:
            with self.subTest(mask=mask):
                error = self.assert_refused("put", {"password": mask}, "password")
                self.assertNotIn(mask, json.dumps(error))

    def test_what_get_shows_cannot_be_sent_back_as_secrets(self):
        self.send("put", {"username": "reader", "password": "hunter2"})
        self.assert_refused("put", self.shown(), *SECRET_FIELDS)
        self.assertEqual(self.secrets(), {"password": "hunter2"})

    def test_refuses_usernames_that_are_none(self):
        for value in ("", 7, "a" * 256, "a\0b", []):
            with self.subTest(value=str(value)[:20]):
                self.assert_refused("patch", {"username": value}, "username")

    def test_names_unknown_fields_and_the_nearest_known_one(self):
        error = self.assert_refused("patch", {"pasword": "hunter2", "host": "x"}, "host", "pasword")
        self.assertIn("password", error["details"]["pasword"][0])
        self.assertNotIn("hunter2", json.dumps(error))

    def test_refuses_service_accounts_that_do_not_parse(self):
        self.use_type("bigquery")
        for value in ("hunter2", "[]", "1", "null", '{"a": NaN}', '{"a": 1', "[" * 60_000):
            with self.subTest(value=value[:20]):
                error = self.assert_refused(
                    "put", {"service_account_json": value}, "service_account_json"
                )
                self.assertNotIn("hunter2", json.dumps(error))
        response = self.send("put", {"service_account_json": SERVICE_ACCOUNT})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.secrets(), {"service_account_json": SERVICE_ACCOUNT})

    def test_refuses_public_keys_for_private_ones(self):
        for value in PUBLIC_KEYS:
            with self.subTest(value=value[:20]):
                self.assert_refused("put", {"ssh_private_key": value}, "ssh_private_key")

    def test_takes_what_fits_the_type_and_nothing_else(self):
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
                value = SERVICE_ACCOUNT if field == "service_account_json" else "hunter2"
                for sent in (value, None):
                    with self.subTest(type=type_name, field=field, sent=sent):
                        if field in fitting:
                            response = self.send("patch", {field: sent})
                            self.assertEqual(response.status_code, 200, response.content)
                        else:
                            error = self.assert_refused("patch", {field: sent}, field)
                            self.assertIn(type_name, error["details"][field][0])

    def use_type(self, type_name: str) -> None:
        """Go on with a data source of this type."""
        self.data_source = DataSource.objects.create(
            workspace=self.workspace, name=type_name, type=type_name
        )
        self.path = f"/data-sources/{self.data_source.pk}/credentials"

    # Confirmation

    def move_as_editor(self) -> None:
        self.send("put", {"password": "hunter2", "ssh_password": "x"}, self.owner)
        source_path = f"/data-sources/{self.data_source.pk}"
        self.call("patch", source_path, {"host": "evil.example.com"}, self.editor)

    def confirm(self, user: User) -> Any:
        return self.call("post", f"{self.path}/confirm", None, user)

    def test_shows_what_waits_to_be_confirmed(self):
        self.move_as_editor()
        data = self.shown()
        for field in ("password", "ssh_password"):
            self.assertEqual((data[field]["is_set"], data[field]["confirmed"]), (True, False))
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_an_admin_confirms_all_that_waits(self):
        for user in (self.admin, self.owner):
            with self.subTest(user=user.username):
                self.move_as_editor()
                set_at = self.shown()["password"]["set_at"]
                response = self.confirm(user)
                self.assertEqual(response.status_code, 200)
                data = response.json()["data"]
                self.assertEqual(
                    data["password"],
                    {
                        "is_set": True,
                        "confirmed": True,
                        "set_at": set_at,
                        "set_by_user_id": self.owner.pk,
                    },
                )
                self.assertEqual(self.secrets(), {"password": "hunter2", "ssh_password": "x"})
                confirmed = {"from": "unconfirmed", "to": "confirmed"}
                self.assertEqual(
                    self.newest_changes(),
                    {
                        "password": confirmed,
                        "ssh_password": confirmed,
                        "credentials_status": {"from": "unconfirmed", "to": "set"},
                    },
                )
                self.assertEqual(self.data_source.revisions.first().changed_by, user)
                self.call("patch", self.path.removesuffix("/credentials"), {"host": "a"}, user)

    def test_nobody_else_confirms_in_the_shell_either(self):
        self.move_as_editor()
        before = self.stored()
        for user in (None, self.editor, self.viewer, self.stranger, self.loner):
            with self.subTest(user=user), self.assertRaises(PermissionDenied):
                self.data_source.confirm_credentials(user=user)
            self.assertEqual(self.stored(), before)

    def test_confirming_twice_is_no_change(self):
        self.move_as_editor()
        self.confirm(self.admin)
        before = self.stored()
        self.assertEqual(self.confirm(self.admin).status_code, 200)
        self.assertEqual(self.stored(), before)

    def test_entering_one_anew_releases_no_other(self):
        self.move_as_editor()
        self.send("patch", {"password": "hunter3"})
        data = self.shown()
        self.assertEqual(
            (data["password"]["confirmed"], data["ssh_password"]["confirmed"]), (True, False)
        )
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")
        self.assertEqual(self.newest_changes(), {"password": {"from": "unconfirmed", "to": "set"}})
        self.send("patch", {"ssh_password": None})
        self.assertEqual(self.stored()["credentials_status"], "set")
        self.assertEqual(self.secrets(), {"password": "hunter3"})

    def test_confirming_needs_the_key(self):
        self.move_as_editor()
        before = self.stored(), [*Credential.objects.values()]
        with self.settings(ENCRYPTION_KEYS=[b"k" * 32]):
            response = self.confirm(self.admin)
        error = self.assert_error(response, 409, "CREDENTIALS_UNREADABLE")
        self.assertIn("password", error["message"])
        self.assertEqual((self.stored(), [*Credential.objects.values()]), before)

    # A key that is gone

    def test_a_lost_key_breaks_nothing_but_its_own_secrets(self):
        self.send("put", {"username": "reader", "password": "hunter2"})
        source_path = f"/data-sources/{self.data_source.pk}"
        with self.settings(ENCRYPTION_KEYS=[b"k" * 32]):
            for method, path, body in (
                ("get", "/data-sources", None),
                ("get", source_path, None),
                ("get", self.path, None),
                ("get", f"{source_path}/history", None),
                ("patch", source_path, {"port": 5433, "host": "other.example.com"}),
                ("patch", self.path, {"username": "writer"}),
                ("patch", self.path, {"ssh_password": "x"}),
                ("post", f"{source_path}/history/2/restore", None),
            ):
                with self.subTest(method=method, path=path):
                    response = self.call(method, path, body, self.admin)
                    self.assertEqual(response.status_code, 200, response.content)
            self.assertEqual(self.stored()["credentials_status"], "unconfirmed")
            self.assertEqual(Credential.objects.get(field="ssh_password").key_id, key_id(b"k" * 32))
            self.assertEqual(self.send("patch", {"password": "hunter3"}).status_code, 200)
            self.assertEqual(self.stored()["credentials_status"], "set")
            self.assertEqual(self.secrets(), {"password": "hunter3", "ssh_password": "x"})
