"""/data-sources/{id}/credentials/confirm, and credentials whose encryption key is missing."""

from typing import Any

from django.core.exceptions import PermissionDenied

from datasources.credentials.cipher import key_id
from datasources.credentials.models import Credential
from datasources.credentials.testing import CredentialsEndpointTestCase
from organizations.models import User
from rivergen.http.input import entity_tag


class ConfirmationTests(CredentialsEndpointTestCase):
    def move_as_editor(self) -> None:
        self.send("put", {"password": "hunter2", "ssh_password": "x"}, self.owner)
        source_path = f"/data-sources/{self.data_source.pk}"
        self.call("patch", source_path, {"host": "evil.example.com"}, self.editor)

    def confirm(self, user: User, body: Any = None, **headers: str) -> Any:
        """Confirm the version that is stored, unless `If-Match` says otherwise."""
        headers = headers or {"If-Match": entity_tag(self.stored()["version"])}
        return self.call("post", f"{self.path}/confirm", body, user, headers=headers)

    def test_moved_secrets_are_shown_as_unconfirmed(self):
        self.move_as_editor()
        data = self.shown()
        for field in ("password", "ssh_password"):
            self.assertEqual((data[field]["is_set"], data[field]["confirmed"]), (True, False))
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_admin_confirms_all_unconfirmed_secrets(self):
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

    def test_confirming_credentials_without_naming_a_version_is_428(self):
        self.move_as_editor()
        before = self.stored()
        for headers in ({}, {"If-Match": "*"}, {"If-Match": " * "}):
            with self.subTest(headers):
                path = f"{self.path}/confirm"
                response = self.call("post", path, None, self.admin, headers=headers)
                error = self.assert_error(response, 428, "PRECONDITION_REQUIRED")
                self.assertIn("ETag of the version you read", error["message"])
                self.assertEqual(self.stored(), before)

    def test_confirming_credentials_of_another_version_is_412(self):
        self.move_as_editor()
        seen = entity_tag(self.stored()["version"])
        source_path = f"/data-sources/{self.data_source.pk}"
        self.call("patch", source_path, {"host": "worse.example.com"}, self.editor)
        before = self.stored()
        for tag in (seen, f"W/{entity_tag(before['version'])}", '"x"'):
            with self.subTest(tag):
                response = self.confirm(self.admin, **{"If-Match": tag})
                self.assert_error(response, 412, "PRECONDITION_FAILED")
                self.assertEqual(response["ETag"], entity_tag(before["version"]))
                self.assertEqual(self.stored(), before)

    def test_roles_and_bodies_are_checked_before_the_version_to_confirm(self):
        self.move_as_editor()
        path = f"{self.path}/confirm"
        self.assert_error(self.call("post", path, None, self.editor), 403, "FORBIDDEN")
        self.assert_error(self.call("post", path, None, self.stranger), 404, "NOT_FOUND")
        response = self.call("post", path, {"x": 1}, self.admin)
        self.assert_error(response, 400, "BAD_REQUEST", "x")

    def test_only_admins_can_confirm_credentials_in_the_shell(self):
        self.move_as_editor()
        before = self.stored()
        for user in (None, self.editor, self.viewer, self.stranger, self.loner):
            with self.subTest(user=user), self.assertRaises(PermissionDenied):
                self.data_source.confirm_credentials(user=user)
            self.assertEqual(self.stored(), before)

    def test_confirming_credentials_twice_changes_nothing(self):
        self.move_as_editor()
        self.confirm(self.admin)
        before = self.stored()
        self.assertEqual(self.confirm(self.admin).status_code, 200)
        self.assertEqual(self.stored(), before)

    def test_entering_one_secret_again_does_not_confirm_another(self):
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

    def test_confirming_a_secret_whose_key_is_missing_is_409(self):
        self.move_as_editor()
        before = self.stored(), [*Credential.objects.values()]
        with self.settings(ENCRYPTION_KEYS=[b"k" * 32]):
            response = self.confirm(self.admin)
        error = self.assert_error(response, 409, "CREDENTIALS_UNREADABLE")
        self.assertIn("password", error["message"])
        self.assertEqual((self.stored(), [*Credential.objects.values()]), before)


class MissingKeyTests(CredentialsEndpointTestCase):
    def test_missing_encryption_key_affects_only_its_own_secrets(self):
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
