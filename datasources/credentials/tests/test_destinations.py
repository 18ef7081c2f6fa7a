"""A secret belongs to its destination, whether API, admin, restore or shell changes it."""

from collections.abc import Callable
from typing import Any

from django.db import transaction

from datasources.credentials.exceptions import CredentialsUnconfirmed
from datasources.credentials.testing import PASSWORD, SSH_PASSWORD, CredentialTestCase
from datasources.models import DESTINATION_FIELDS, DataSource
from datasources.testing import ADMIN_PAGES, admin_client, filled_in
from organizations.models import Role, User

# Changes of each field that is part of the destination, by name.
MOVES: dict[str, dict[str, Any]] = {
    "host": {"host": "other.example.com"},
    "port": {"port": 5433},
    "no port": {"port": None},
    "use_ssh_tunnel": {"use_ssh_tunnel": True},
    "ssh_host": {"ssh_host": "other.example.com"},
    "ssh_port": {"ssh_port": 2222},
    "ssh_username": {"ssh_username": "other"},
    "ssh_local_port": {"ssh_local_port": None},
    "no connection string": {"connection_string": None},
    "its host": {"connection_string": "postgresql://reader@other:5432/x?sslmode=require"},
    "its port": {"connection_string": "postgresql://reader@db.example.com:1/x?sslmode=require"},
    "its option": {"connection_string": "postgresql://reader@db.example.com:5432/x?sslmode=allow"},
    "no option": {"connection_string": "postgresql://reader@db.example.com:5432/x"},
}
OTHER_CHANGES: tuple[dict[str, Any], ...] = (
    {"name": "Other", "description": "Other", "tags": ["other"], "metadata": {"other": 1}},
    {"database_name": "other", "schema_name": "other", "file_path": "other"},
    {"connection_pool_size": 9, "connection_timeout": 9, "query_timeout": 9, "max_retries": 9},
    {"schema_auto_refresh": True, "schema_refresh_interval": 90},
    {"connection_string": "postgresql://writer@db.example.com:5432/y?sslmode=require"},
    {"connection_string": "postgresql://reader@DB.EXAMPLE.COM:5432/x?sslmode=require"},
    # The same for the driver, in the words of another client.
    {"connection_string": "postgres://reader@db.example.com:5432/x?ssl=true&pgbouncer=true"},
    {"connection_string": "postgresql+asyncpg://reader@db.example.com:5432/x?ssl=require"},
    {"host": "db.example.com", "port": 5432},
    {"connection_string": "postgresql://reader@db.example.com/x?sslmode=require"},
)
# Two strings for the same servers, by type, and two for others.
SAME_SERVERS = (
    ("postgresql", None, "postgresql://db/x", "postgresql://db:5432/x"),
    ("postgresql", 5433, "postgresql://db/x", "postgresql://db:5433/x"),
    ("mongodb", None, "mongodb://a,b/x", "mongodb://b:27017,a:27017/x"),
    ("mongodb", 27018, "mongodb://a,b/x", "mongodb://a:27017,b/x"),
    ("mongodb", None, "mongodb://db/x", "mongodb://db:27017/y"),
    ("clickhouse", None, "clickhouse://db/x", "http://db:8123/x"),
    ("clickhouse", None, "clickhouse://db/x?secure=true", "clickhouse://db:8443/x?secure=true"),
    ("bigquery", None, "bigquery://project/one", "bigquery://project/two"),
)
OTHER_SERVERS = (
    ("postgresql", 5433, "postgresql://db/x", "postgresql://db:5432/x"),
    ("mongodb", 27018, "mongodb://a,b/x", "mongodb://a:27018,b:27018/x"),
    ("mongodb", None, "mongodb://a,b/x", "mongodb://a,b,c/x"),
    ("mongodb", None, "mongodb://a:1,b:2/x", "mongodb://a:2,b:1/x"),
    ("mongodb", None, "mongodb://a.b.c/x", "mongodb+srv://a.b.c/x"),
    ("clickhouse", None, "clickhouse://db/x?secure=true", "clickhouse://db:8123/x?secure=true"),
    ("clickhouse", None, "clickhouse://db:8443/x", "clickhouse://db:8443/x?secure=true"),
    ("bigquery", None, "bigquery://project/one", "bigquery://other/one"),
)


class DestinationTests(CredentialTestCase):
    # Ways to change the destination

    def patch(self, change: dict[str, Any], user: User) -> None:
        response = self.call("patch", self.path, change, user)
        self.assertEqual(response.status_code, 200, response.content)

    def shell(self, change: dict[str, Any], user: User) -> None:
        self.fetch().apply_changes(change, user=user)

    def admin_page(self, change: dict[str, Any], user: User) -> None:
        client = admin_client(user)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        self.assertEqual(client.post(page, filled_in(client, page, **change)).status_code, 302)

    def restore(self, change: dict[str, Any], user: User) -> None:
        """Restore a version that has the values of `change`."""
        here = {field: getattr(self.data_source, field) for field in change}
        self.fetch().apply_changes(change, user=self.owner)
        version = self.stored()["version"]
        self.fetch().apply_changes(here, user=self.owner)
        if user == self.editor:
            refused = self.call("post", f"{self.path}/history/{version}/restore", user=user)
            self.assert_error(refused, 403, "FORBIDDEN")
            self.fetch().restore(version, user=user)
        else:
            response = self.call("post", f"{self.path}/history/{version}/restore", user=user)
            self.assertEqual(response.status_code, 200, response.content)

    def for_each_move(self, user: User, check: Callable[[], None]) -> None:
        for way in (self.patch, self.admin_page, self.restore, self.shell):
            for part, change in MOVES.items():
                with (
                    self.subTest(way=way.__name__, part=part, user=user.username),
                    transaction.atomic(),
                ):
                    way(change, user)
                    check()
                    transaction.set_rollback(True)

    # The state of the secrets after a change

    def assert_unconfirmed(self) -> None:
        data_source = self.fetch()
        self.assertEqual(data_source.credentials_status, "unconfirmed")
        with self.assertRaises(CredentialsUnconfirmed):
            data_source.credentials.open()
        waiting = {"from": "set", "to": "unconfirmed"}
        changes = self.newest_changes()
        self.assertEqual((changes["password"], changes["ssh_password"]), (waiting, waiting))
        self.assertEqual(changes["credentials_status"], waiting)

    def assert_carried_over(self) -> None:
        data_source = self.fetch()
        self.assertEqual(data_source.credentials_status, "set")
        secrets = {"password": PASSWORD, "ssh_password": SSH_PASSWORD}
        self.assertEqual(data_source.credentials.open(), secrets)
        carried = {"from": "set", "to": "carried over"}
        changes = self.newest_changes()
        self.assertEqual((changes["password"], changes["ssh_password"]), (carried, carried))
        self.assertNotIn("credentials_status", changes)

    def test_cases_cover_every_field_of_the_destination(self):
        tried = {field for change in MOVES.values() for field in change}
        self.assertEqual(
            tried, {*DESTINATION_FIELDS, "connection_string"} - {"type", "ssh_host_key"}
        )

    def test_strings_that_lead_to_the_same_servers_are_one_destination(self):
        for are_same, cases in ((True, SAME_SERVERS), (False, OTHER_SERVERS)):
            for type_, port, *texts in cases:
                with self.subTest(texts, port=port):
                    one, other = (
                        DataSource(type=type_, port=port, connection_string=text).destination
                        for text in texts
                    )
                    self.assertEqual(one == other, are_same)

    def test_destination_changed_by_an_editor_leaves_secrets_unconfirmed(self):
        self.for_each_move(self.editor, self.assert_unconfirmed)

    def test_destination_changed_by_an_admin_carries_secrets_over(self):
        self.for_each_move(self.admin, self.assert_carried_over)

    def test_destination_changed_by_an_owner_carries_secrets_over(self):
        self.for_each_move(self.owner, self.assert_carried_over)

    def test_destination_changed_without_an_active_admin_role_leaves_secrets_unconfirmed(self):
        retired = self.make_user("rita", self.acme, Role.ADMIN)
        User.objects.filter(pk=retired.pk).update(is_active=False)
        User.objects.filter(pk=self.loner.pk).update(is_staff=True, is_superuser=True)
        for user in (None, self.stranger, self.loner, self.viewer, retired):
            with self.subTest(user=user), transaction.atomic():
                self.fetch().apply_changes({"port": 5433}, user=user)
                self.assert_unconfirmed()
                transaction.set_rollback(True)

    def test_change_outside_the_destination_keeps_secrets_confirmed(self):
        for change in OTHER_CHANGES:
            with self.subTest(change=change), self.statements() as captured:
                self.patch(change, self.editor)
                self.assertEqual(self.fetch().credentials_status, "set")
                self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)
            written = [q["sql"] for q in captured.captured_queries if "credential" in q["sql"]]
            self.assertFalse([text for text in written if text.startswith('UPDATE "datasources_c')])

    def test_changing_the_destination_back_confirms_no_secret(self):
        here = self.stored()
        for part, change in MOVES.items():
            for user in (self.editor, self.admin):
                with self.subTest(part=part, user=user.username), transaction.atomic():
                    self.patch(change, self.editor)
                    self.patch({field: here[field] for field in change}, user)
                    self.assertEqual(self.fetch().credentials_status, "unconfirmed")
                    with self.assertRaises(CredentialsUnconfirmed):
                        self.fetch().credentials.open()
                    transaction.set_rollback(True)

    def test_restoring_the_destination_confirms_no_secret(self):
        version = self.stored()["version"]
        self.patch({"host": "other.example.com"}, self.editor)
        response = self.call("post", f"{self.path}/history/{version}/restore", user=self.owner)
        self.assertEqual(response.json()["data"]["host"], "db.example.com")
        self.assertEqual(response.json()["data"]["credentials_status"], "unconfirmed")

    def test_restoring_a_version_restores_no_secret(self):
        version = self.stored()["version"]
        self.fetch().set_credentials({"password": "newer", "username": "w"}, user=self.editor)
        self.fetch().set_credentials({"ssh_password": None}, user=self.editor)
        self.call("post", f"{self.path}/history/{version}/restore", user=self.owner)
        self.assertEqual(self.fetch().credentials.open(), {"password": "newer"})
        self.assertEqual(self.stored()["username"], "w")

    def test_admin_who_changes_the_destination_again_confirms_no_secret(self):
        self.patch({"host": "other.example.com"}, self.editor)
        self.fetch().set_credentials({"ssh_password": "x"}, user=self.editor)
        self.patch({"port": 5433}, self.admin)
        self.assertEqual(
            self.newest_changes(),
            {
                "port": {"from": 5432, "to": 5433},
                "ssh_password": {"from": "set", "to": "carried over"},
            },
        )
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()

    def test_secret_sent_with_a_new_destination_is_confirmed_for_it(self):
        url = "postgresql://reader:hunter4@other.example.com/x"
        self.patch({"connection_string": url, "host": "other.example.com"}, self.editor)
        self.assertEqual(self.newest_changes()["password"], {"from": "set", "to": "set"})
        self.assertEqual(
            self.newest_changes()["ssh_password"], {"from": "set", "to": "unconfirmed"}
        )
        with self.assertRaises(CredentialsUnconfirmed) as caught:
            self.fetch().credentials.open()
        self.assertNotIn("password,", str(caught.exception).replace("ssh_password", ""))
        self.fetch().set_credentials({"ssh_password": None}, user=self.editor)
        self.assertEqual(self.fetch().credentials.open(), {"password": "hunter4"})

    def test_dry_run_shows_the_state_of_secrets_and_changes_none(self):
        before = self.stored(), self.credential().ciphertext
        for user, outcome, status in (
            (self.editor, "unconfirmed", "unconfirmed"),
            (self.admin, "carried over", "set"),
        ):
            with self.subTest(user=user.username):
                path = f"{self.path}?dry_run=true"
                body = self.call("patch", path, {"host": "other"}, user).json()
                self.assertEqual(body["changes"]["password"], {"from": "set", "to": outcome})
                self.assertEqual(body["data"]["credentials_status"], status)
                self.assertEqual((self.stored(), self.credential().ciphertext), before)
                self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def test_destination_change_without_secrets_runs_no_credential_query(self):
        self.fetch().set_credentials({"password": None, "ssh_password": None}, user=self.owner)
        with self.statements() as captured:
            self.patch({"host": "other.example.com"}, self.editor)
        self.assertFalse([q for q in captured.captured_queries if 'credential"' in q["sql"]])
