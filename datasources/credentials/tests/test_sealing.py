"""A ciphertext opens only in the context it was sealed in, also after tampering with the rows."""

from typing import Any

from django.db import connection
from django.test import SimpleTestCase

from datasources.credentials.cipher import KeyRing, PlainText, Sealed, UnreadableError, key_id
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.credentials.models import Credential
from datasources.credentials.testing import PASSWORD, CredentialTestCase
from datasources.models import DataSource
from organizations.models import Organization, User

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
CONTEXT = b"here"


class KeyRingTests(SimpleTestCase):
    def test_first_key_seals_and_all_keys_open(self):
        sealed = KeyRing([OLD_KEY]).seal("hunter2", CONTEXT)
        ring = KeyRing([NEW_KEY, OLD_KEY])
        self.assertEqual(ring.open(sealed, CONTEXT), "hunter2")
        self.assertEqual(ring.seal("hunter2", CONTEXT).key_id, key_id(NEW_KEY))
        self.assertEqual(KeyRing([OLD_KEY, NEW_KEY]).open(sealed, CONTEXT), "hunter2")

    def test_nonces_never_repeat(self):
        ring = KeyRing([OLD_KEY])
        ciphertexts = {ring.seal("hunter2", CONTEXT).ciphertext for _ in range(100)}
        self.assertEqual(len({ciphertext[:12] for ciphertext in ciphertexts}), 100)

    def test_changed_ciphertext_key_or_context_is_unreadable(self):
        ring = KeyRing([OLD_KEY])
        sealed = ring.seal("hunter2", CONTEXT)
        flipped = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
        tampered = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
        for name, other_ring, other, context in (
            ("another context", ring, sealed, b"there"),
            ("no key", KeyRing([NEW_KEY]), sealed, CONTEXT),
            ("the name of another key", ring, Sealed(key_id(NEW_KEY), sealed.ciphertext), CONTEXT),
            (
                "the wrong key",
                KeyRing([NEW_KEY]),
                Sealed(key_id(NEW_KEY), sealed.ciphertext),
                CONTEXT,
            ),
            ("another nonce", ring, Sealed(sealed.key_id, flipped), CONTEXT),
            ("another tag", ring, Sealed(sealed.key_id, tampered), CONTEXT),
            ("half of it", ring, Sealed(sealed.key_id, sealed.ciphertext[:20]), CONTEXT),
            ("nothing", ring, Sealed(sealed.key_id, b""), CONTEXT),
        ):
            with self.subTest(name), self.assertRaises(UnreadableError):
                other_ring.open(other, context)

    def test_repr_of_a_plain_text_hides_the_secret(self):
        text = PlainText("hunter2")
        self.assertEqual(f"{text}", "hunter2")
        self.assertNotIn("hunter2", repr({"password": text}))

    def test_key_id_reveals_nothing_about_the_key(self):
        self.assertNotIn(key_id(OLD_KEY), OLD_KEY.hex())
        self.assertEqual(len(key_id(OLD_KEY)), 16)


class TamperingTests(CredentialTestCase):
    def execute(self, statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            self.assertEqual(cursor.rowcount, 1)

    def copy_sealed(self, source: Credential, target: Credential) -> None:
        """Copy the ciphertext, key id and destination of one row to another."""
        self.execute(
            "UPDATE datasources_credential SET (ciphertext, key_id, destination) = "
            "(SELECT ciphertext, key_id, destination FROM datasources_credential WHERE id = %s) "
            "WHERE id = %s",
            source.pk,
            target.pk,
        )

    def twin(self, organization: Organization, user: User) -> DataSource:
        """Create a data source with the same destination and another password."""
        fields = (
            *("type", "host", "port", "connection_string", "use_ssh_tunnel", "ssh_host"),
            *("ssh_port", "ssh_username", "ssh_local_port"),
        )
        twin = DataSource.objects.create(
            organization=organization,
            name="Twin",
            **{field: getattr(self.data_source, field) for field in fields},
        )
        twin.set_credentials({"password": "of the twin"}, user=user)
        self.assertEqual(twin.destination, self.fetch().destination)
        return twin

    def assert_unreadable(self, data_source: DataSource) -> None:
        with self.assertRaises(CredentialsUnreadable) as caught:
            DataSource.objects.get(pk=data_source.pk).credentials.open()
        self.assertNotIn(PASSWORD, str(caught.exception))

    def test_untouched_secret_opens(self):
        self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def test_ciphertext_of_another_data_source_is_unreadable(self):
        twin = self.twin(self.acme, self.owner)
        self.copy_sealed(self.credential(), twin.credentials.get())
        self.assert_unreadable(twin)

    def test_ciphertext_of_another_organization_is_unreadable(self):
        twin = self.twin(self.globex, self.stranger)
        self.copy_sealed(self.credential(), twin.credentials.get())
        self.assert_unreadable(twin)

    def test_ciphertext_of_another_field_is_unreadable(self):
        self.copy_sealed(self.credential("password"), self.credential("ssh_password"))
        self.assert_unreadable(self.data_source)

    def test_secret_moved_to_another_data_source_is_unreadable(self):
        twin = self.twin(self.globex, self.stranger)
        self.execute("DELETE FROM datasources_credential WHERE data_source_id = %s", twin.pk)
        self.execute(
            "UPDATE datasources_credential SET data_source_id = %s WHERE id = %s",
            twin.pk,
            self.credential().pk,
        )
        self.assert_unreadable(twin)

    def test_secret_of_a_data_source_moved_to_another_organization_is_unreadable(self):
        self.execute(
            "UPDATE datasources_datasource SET organization_id = %s, workspace_id = %s "
            "WHERE id = %s",
            self.globex.pk,
            self.globex.workspaces.get().pk,
            self.data_source.pk,
        )
        self.assert_unreadable(self.data_source)

    def test_destination_changed_in_the_database_releases_no_secret(self):
        for column, value in (
            ("host", "evil.example.com"),
            ("port", 1),
            ("type", "redshift"),
            ("use_ssh_tunnel", True),
            ("ssh_host", "evil.example.com"),
            ("ssh_port", 1),
            ("ssh_username", "evil"),
            ("ssh_local_port", 1),
            ("connection_string", "postgresql://evil.example.com/x"),
            ("connection_string", "postgresql://db.example.com:5432/x?host=evil.example.com"),
            ("connection_string", "host=evil.example.com"),
            # urlsplit reads the old host here; libpq connects to evil.example.com.
            (
                "connection_string",
                "postgresql://reader@evil.example.com:5432,x@db.example.com:5432/x?sslmode=require",
            ),
            (
                "connection_string",
                "postgresql://reader@db.example.com:5432/x?sslmode=require#&hostaddr=6.6.6.6",
            ),
            ("connection_string", "postgresql://[evil"),
            ("connection_string", None),
        ):
            with self.subTest(column=column, value=value):
                here = self.stored()[column]
                set_column = f"UPDATE datasources_datasource SET {column} = %s WHERE id = %s"
                self.execute(set_column, value, self.data_source.pk)
                with self.assertRaises(CredentialsUnconfirmed):
                    self.fetch().credentials.open()
                shown = self.call("get", f"{self.path}/credentials", user=self.viewer).json()
                self.assertFalse(shown["data"]["password"]["confirmed"])
                # It stays sealed even if its row claims that it was sealed to that destination.
                rows = Credential.objects.filter(data_source=self.data_source)
                digest = rows[0].destination
                rows.update(destination=self.fetch().destination)
                self.assert_unreadable(self.data_source)
                rows.update(destination=digest)
                self.execute(set_column, here, self.data_source.pk)
                self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def test_admin_carries_no_secret_over_from_a_tampered_destination(self):
        self.execute(
            "UPDATE datasources_datasource SET host = 'evil.example.com' WHERE id = %s",
            self.data_source.pk,
        )
        response = self.call("patch", self.path, {"port": 5433}, self.admin)
        self.assertEqual(response.json()["data"]["credentials_status"], "unconfirmed")
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()

    def test_password_planted_in_a_stored_connection_string_is_ignored(self):
        self.execute(
            "UPDATE datasources_datasource SET connection_string = %s WHERE id = %s",
            "postgresql://reader:planted@evil.example.com/x",
            self.data_source.pk,
        )
        self.call("patch", self.path, {"port": 5433}, self.admin)
        self.assertEqual(self.fetch().credentials_status, "unconfirmed")
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()

    def test_admin_can_confirm_a_destination_changed_in_the_database(self):
        self.execute(
            "UPDATE datasources_datasource SET host = 'good.example.com' WHERE id = %s",
            self.data_source.pk,
        )
        self.fetch().confirm_credentials(user=self.admin)
        self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def test_invalid_stored_connection_string_is_refused_until_replaced(self):
        self.execute(
            "UPDATE datasources_datasource SET connection_string = %s WHERE id = %s",
            "postgresql://me:hunter9@[evil",
            self.data_source.pk,
        )
        response = self.call("patch", self.path, {"port": 5433}, self.admin)
        error = self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
        self.assertNotIn("hunter9", str(error))
        for path in ("", "/credentials", "/history"):
            response = self.call("get", f"{self.path}{path}", user=self.viewer)
            self.assertEqual(response.status_code, 200)
        response = self.call("patch", self.path, {"connection_string": None}, self.admin)
        self.assertEqual(response.status_code, 200)

    def test_confirmation_forged_in_the_database_releases_no_secret(self):
        self.fetch().apply_changes({"host": "evil.example.com"}, user=self.editor)
        Credential.objects.update(is_confirmed=True)
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()
        Credential.objects.update(destination=self.fetch().destination)
        self.assert_unreadable(self.data_source)

    def test_unsaved_destination_gets_no_secret(self):
        data_source = self.fetch()
        data_source.host = "evil.example.com"
        with self.assertRaises(CredentialsUnconfirmed):
            data_source.credentials.open()

    def test_row_of_a_secret_contains_no_plain_text(self):
        for value in Credential.objects.values()[0].values():
            self.assertNotIn(PASSWORD.encode(), bytes(str(value), "utf-8"))
        self.assertNotIn(PASSWORD, f"{self.credential()!r} {self.credential()}")
