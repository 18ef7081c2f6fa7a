"""Tests of `changes` in answers: what a request changed, as the history has it."""

from typing import Any

from datasources.connections.ssh.host_keys import fingerprint
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.http.input import entity_tag
from tests.api.testing.route_table import HOST_KEY, present_host_key


class ChangesTests(DataSourceTestCase):
    def change(self, method: str, path: str, body: Any = None, user: Any = None, **headers: str):
        target = f"{self.path}{path}"
        response = self.call(method, target, body, user or self.admin, headers=headers)
        self.assertEqual(response.status_code, 200, response.content)
        return response

    def newest(self) -> Any:
        """Return the changes of the newest history entry, as the API shows them."""
        history = self.call("get", f"{self.path}/history", user=self.viewer).json()
        return history["data"][0]["changes"]

    def test_update_says_what_changed_as_the_history_does(self):
        body = {"port": 5433, "metadata": {"team": "data"}, "description": ""}
        changes = self.change("patch", "", body).json()["changes"]
        self.assertEqual(changes["port"], {"from": 5432, "to": 5433})
        self.assertEqual([*changes], ["port", "metadata"])
        self.assertEqual(changes, self.newest())

    def test_update_that_changes_nothing_says_so(self):
        for body in ({}, {"port": 5432}, {"tags": [], "metadata": {}}):
            with self.subTest(body=body):
                self.assertEqual(self.change("patch", "", body).json()["changes"], {})

    def test_secret_in_a_connection_string_is_a_state(self):
        url = "postgresql://reader:hunter2@db.example.com/production"
        response = self.change("patch", "", {"connection_string": url})
        self.assertNotIn("hunter2", response.content.decode())
        changes = response.json()["changes"]
        self.assertEqual(changes["password"], {"from": "unset", "to": "set"})
        self.assertEqual(changes, self.newest())

    def test_moved_destination_says_what_became_of_the_secrets(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=None)
        moved = self.change("patch", "", {"host": "moved.example.com"}, self.editor)
        self.assertEqual(moved.json()["changes"]["password"], {"from": "set", "to": "unconfirmed"})
        etag = entity_tag(self.stored()["version"])
        confirmed = self.change("post", "/credentials/confirm", None, **{"If-Match": etag})
        changes = confirmed.json()["changes"]
        self.assertEqual(changes["password"], {"from": "unconfirmed", "to": "confirmed"})
        self.assertEqual(changes, self.newest())
        etag = entity_tag(self.stored()["version"])
        again = self.change("post", "/credentials/confirm", None, **{"If-Match": etag})
        self.assertEqual(again.json()["changes"], {})

    def test_credentials_say_what_changed(self):
        for method, body, fields in (
            ("put", {"password": "a", "username": "reader"}, {"username", "password"}),
            ("patch", {"ssh_password": "b"}, {"ssh_password"}),
            ("put", {"username": "writer"}, {"username", "password", "ssh_password"}),
            ("patch", {}, set()),
        ):
            with self.subTest(method=method, body=body):
                changes = self.change(method, "/credentials", body).json()["changes"]
                self.assertEqual({*changes} - {"credentials_status"}, fields)
                if changes:
                    self.assertEqual(changes, self.newest())

    def test_restore_says_what_changed(self):
        self.change("patch", "", {"port": 5433, "tags": ["new"]})
        changes = self.change("post", "/history/1/restore").json()["changes"]
        self.assertEqual({*changes}, {"port", "tags"})
        self.assertEqual(changes, self.newest())
        self.assertEqual(self.change("post", "/history/1/restore").json()["changes"], {})

    def test_confirmed_host_key_says_what_changed(self):
        present_host_key(self.data_source)
        body = {"fingerprint": fingerprint(HOST_KEY)}
        changes = self.change("post", "/ssh-host-key/confirm", body).json()["changes"]
        self.assertEqual(changes["ssh_host_key"], {"from": None, "to": HOST_KEY})
        self.assertEqual(changes, self.newest())
        again = self.change("post", "/ssh-host-key/confirm", body).json()
        self.assertEqual(again["changes"], {})

    def test_replays_that_changed_nothing_say_so(self):
        # An answer of this size is made again, not stored.
        self.data_source.apply_changes({"description": "x" * 5_000}, user=None)
        version = self.stored()["version"]
        for method, path in (("patch", ""), ("post", f"/history/{version}/restore")):
            body = {} if method == "patch" else None
            key = {"Idempotency-Key": f"key-{method}"}
            first = self.change(method, path, body, **key).json()
            again = self.change(method, path, body, **key)
            with self.subTest(method=method):
                self.assertEqual(again["Idempotency-Replayed"], "true")
                self.assertEqual(again.json(), first)
                self.assertEqual(first["changes"], {})

    def test_replay_of_an_update_says_what_the_first_one_changed(self):
        key = {"Idempotency-Key": "one"}
        first = self.change("patch", "", {"port": 5433}, **key).json()
        DataSource.objects.get().apply_changes({"port": 5434}, user=None)
        again = self.change("patch", "", {"port": 5433}, **key).json()
        self.assertEqual(again, first)
        self.assertEqual(again["changes"], {"port": {"from": 5432, "to": 5433}})

    def test_repeated_dry_run_says_what_would_change(self):
        for _ in range(2):
            response = self.change(
                "patch", "?dry_run=true", {"port": 5433}, **{"Idempotency-Key": "dry"}
            )
            self.assertEqual(response.json()["changes"], {"port": {"from": 5432, "to": 5433}})
