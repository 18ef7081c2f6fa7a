"""Secrets as people paste them, by each way in: stored in mended form, or refused with a hint."""

import base64
import functools
import itertools
import json
import os
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from asyncssh import generate_private_key
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction

from datasources.connections.connectors.base import CREDENTIAL_FIELDS, SECRET_FIELDS
from datasources.connections.ssh.pasted_keys import check_private_key
from datasources.connections.testing.private_keys import private_key, service_account
from datasources.credentials import private_keys
from datasources.credentials.testing import CredentialsEndpointTestCase
from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, admin_client, filled_in

KEY, PASSPHRASE = "ssh_private_key", "ssh_private_key_passphrase"


def pasted(key):
    """Return a private key in quotes, in one line, as in a file of variables."""
    return f'"{key.strip()}"'.replace("\n", "\\n")


class WaysInTestCase(CredentialsEndpointTestCase):
    """A test case that enters credentials by the API, the admin, the shell and declarations."""

    def setUp(self):
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(self.settings(SECRETS_ROOT=str(self.folder)))

    def enter(self, way, credentials):
        """Enter credentials. Return None, or what is said about those that are refused."""
        return getattr(self, f"enter_by_{way}")(credentials)

    def enter_by_put(self, credentials):
        response = self.send("put", credentials)
        return None if response.status_code == 200 else response.json()["error"]["details"]

    def enter_by_patch(self, credentials):
        response = self.send("patch", credentials)
        return None if response.status_code == 200 else response.json()["error"]["details"]

    def enter_by_shell(self, credentials):
        try:
            self.data_source.set_credentials(credentials, user=None)
        except ValidationError as error:
            return error.message_dict
        return None

    def enter_by_admin(self, credentials):
        client, page = admin_client(self.owner), f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        response = client.post(page, filled_in(client, page, **credentials), follow=True)
        form = response.context.get("adminform")
        return {**form.form.errors} or None if form is not None else None

    def enter_by_creation(self, credentials):
        type_name = self.data_source.type
        body = {"name": "new", "type": type_name, "credentials": credentials}
        DataSource.objects.filter(name="new").delete()
        response = self.call("post", "/data-sources", body, self.editor)
        if response.status_code == 201:
            pk = response.json()["data"]["id"]
            self.created = DataSource.objects.get(pk=pk)
            return None
        details = response.json()["error"]["details"]
        return {name.removeprefix("credentials."): said for name, said in details.items()}

    def enter_by_declaration(self, credentials):
        declared = {**credentials}
        for field, text in credentials.items():
            if field in SECRET_FIELDS and isinstance(text, str):
                (self.folder / field).write_bytes(text.encode())
                declared[field] = f"${{file:{field}}}"
        return self.apply(declared)

    def enter_by_variable(self, credentials):
        variables = {f"SHOP_{field}": text for field, text in credentials.items()}
        with mock.patch.dict(os.environ, variables):
            return self.apply({field: f"${{env:SHOP_{field}}}" for field in credentials})

    def apply(self, credentials):
        source = {"name": self.data_source.name, "credentials": credentials}
        text = json.dumps({"organization": "acme", "data_sources": [source]})
        file = self.folder / "sources.yaml"
        file.write_text(text)
        try:
            call_command("apply_data_sources", str(file), stdout=StringIO())
        except CommandError as error:
            said = str(error)
            return {field: said for field in CREDENTIAL_FIELDS if f"credentials.{field}:" in said}
        return None

    def stored_by(self, way):
        """Return the secrets and the username, if there is one."""
        data_source = self.created if way == "creation" else self.data_source
        data_source = DataSource.objects.get(pk=data_source.pk)
        username = {"username": data_source.username} if data_source.username else {}
        return {**data_source.credentials.open(), **username}


WAYS = ("put", "patch", "creation", "shell", "admin", "declaration", "variable")
REFUSED = "refused"
VALUES: tuple[Any, ...] = (
    *(None, True, 0, 5, 0.5, [], ["a"], {}, {"a": 1}, "", " ", "a", "  a ", "a\nb", "a\r\nb\r\n"),
    *("\n", "a\0b", "a\x1bb", "5", "null", "{}", "********", "<token>", "ä\u200b", "a" * 300),
)


class WaysInTests(WaysInTestCase):
    def test_pasted_key_is_stored_mended_by_each_way_in(self):
        for way in WAYS:
            key = generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem").decode()
            for text in (pasted(key), f"\ufeff{key}", key.replace("\n", "\r"), f"  {key}"):
                with self.subTest(way, text=text[:9]):
                    self.assertIsNone(self.enter(way, {KEY: text}))
                    self.assertEqual(self.stored_by(way)[KEY], key)

    def test_unusable_key_is_refused_by_each_way_in_and_never_repeated(self):
        key = private_key("right")
        middle = key.splitlines()[2]
        for way in WAYS:
            for field, words, credentials in (
                (KEY, "no private key", {KEY: "hunter2hunter2"}),
                (KEY, "cut off", {KEY: key[:150]}),
                (KEY, "public key", {KEY: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP me@here"}),
                (KEY, "puttygen", {KEY: "PuTTY-User-Key-File-3: ssh-ed25519\nhunter2hunter2"}),
                (PASSPHRASE, "is encrypted", {KEY: key}),
                (PASSPHRASE, "does not open", {KEY: key, PASSPHRASE: "hunter2hunter2"}),
            ):
                with self.subTest(way, words=words):
                    before = self.stored()
                    said = self.enter(way, credentials)
                    self.assertIsNotNone(said, "accepted")
                    self.assertIn(field, said)
                    self.assertIn(words, str(said))
                    for secret in ("hunter2hunter2", middle):
                        self.assertNotIn(secret, str(said))
                    self.assertEqual(self.stored(), before)

    def test_key_with_its_passphrase_is_stored_by_each_way_in(self):
        for way in WAYS:
            with self.subTest(way):
                key = private_key(f"{way} words", "pkcs1-pem")
                entered = {KEY: key, PASSPHRASE: f"{way} words\n"}
                self.assertIsNone(self.enter(way, entered))
                self.assertEqual(self.stored_by(way), entered | {PASSPHRASE: f"{way} words"})

    def test_draft_with_an_unusable_key_is_refused(self):
        draft = {"type": "postgresql", "name": "d", "credentials": {KEY: private_key("right")}}
        based = {"based_on": self.data_source.pk, "credentials": {KEY: "hunter2"}}
        for body, field in ((draft, PASSPHRASE), (based, KEY)):
            response = self.call("post", "/data-sources/test", body, self.editor)
            self.assert_error(response, 400, "BAD_REQUEST", f"credentials.{field}")

    def test_key_is_opened_once_on_its_way_to_the_row(self):
        for way in ("put", "patch", "creation", "admin", "shell", "declaration"):
            entered = {KEY: private_key(f"{way} once"), PASSPHRASE: f"{way} once"}
            opened = mock.patch.object(
                private_keys, "check_private_key", side_effect=check_private_key
            )
            with self.subTest(way), opened as calls:
                self.assertIsNone(self.enter(way, entered))
                self.assertEqual(calls.call_count, 1)

    def test_applying_a_pasted_key_again_changes_nothing(self):
        self.enter_by_declaration({KEY: pasted(private_key())})
        version = self.stored()["version"]
        self.enter_by_declaration({KEY: private_key()})
        self.enter_by_declaration({KEY: f"\n{pasted(private_key())}\n"})
        self.assertEqual(self.stored()["version"], version)

    def test_applying_a_key_that_was_stored_before_keys_were_mended_changes_nothing(self):
        self.send("patch", {KEY: private_key()})
        credential = self.data_source.credentials.get(field=KEY)
        credential.seal(pasted(private_key()), credential.destination)
        credential.save()
        version = self.stored()["version"]
        self.enter_by_declaration({KEY: private_key()})
        self.assertEqual(self.stored()["version"], version)

    def test_any_json_value_of_a_credential_is_taken_by_all_ways_or_by_none(self):
        fields = {
            "postgresql": (*CREDENTIAL_FIELDS,),
            "databricks": ("token",),
            "bigquery": ("service_account_json",),
        }
        for type_name, named in fields.items():
            self.use_type(type_name)
            for field, value in itertools.product(named, VALUES):
                if value is None and field not in self.data_source.connector.credential_fields:
                    continue  # the shell may clear all credentials that there are
                with self.subTest(type_name, field=field, value=value):
                    stored = {
                        way: self.outcome(way, field, value) for way in self.ways(field, value)
                    }
                    self.assertEqual(len({*stored.values()}), 1, stored)

    def ways(self, field, value):
        """Return the ways that can express a value: variables and forms have text only."""
        ways = ["put", "patch", "creation", "shell", "declaration"]
        if field != "username" and isinstance(value, str) and "\0" not in value:
            ways.append("variable")
        is_line = isinstance(value, str) and value.strip() and value.splitlines() == [value]
        if is_line and field in self.data_source.connector.credential_fields:
            ways.append("admin")
        return ways

    def outcome(self, way, field, value):
        """Return what one way stores for a value, or REFUSED; then undo it."""
        with transaction.atomic():
            said = self.enter(way, {field: value})
            self.assertTrue(said is None or field in said, said)
            stored = REFUSED if said else self.stored_by(way).get(field)
            transaction.set_rollback(True)
        return stored


class PassphraseTests(CredentialsEndpointTestCase):
    def test_passphrase_may_come_before_its_key(self):
        self.send("patch", {PASSPHRASE: "right"})
        self.assert_refused("patch", {KEY: private_key("other")}, PASSPHRASE)
        self.assertEqual(self.send("patch", {KEY: private_key("right")}).status_code, 200)

    def test_put_of_a_key_does_not_use_the_passphrase_that_it_clears(self):
        self.send("put", {PASSPHRASE: "right"})
        self.assert_refused("put", {KEY: private_key("right")}, PASSPHRASE)

    def test_put_of_a_passphrase_is_not_checked_against_the_key_that_it_clears(self):
        self.send("put", {KEY: private_key("right"), PASSPHRASE: "right"})
        self.assertEqual(self.send("put", {PASSPHRASE: "other"}).status_code, 200)
        self.assertEqual(self.secrets(), {PASSPHRASE: "other"})

    def test_passphrase_that_does_not_open_the_stored_key_is_refused(self):
        self.send("put", {KEY: private_key("right"), PASSPHRASE: "right"})
        self.assert_refused("patch", {PASSPHRASE: "wrong"}, PASSPHRASE)
        self.assertEqual(self.send("patch", {PASSPHRASE: "right"}).status_code, 200)

    def test_encrypted_key_with_a_cleared_passphrase_is_refused(self):
        self.send("put", {KEY: private_key("right"), PASSPHRASE: "right"})
        body = {KEY: private_key("right"), PASSPHRASE: None}
        self.assert_refused("patch", body, PASSPHRASE)
        self.assertEqual(self.send("patch", {PASSPHRASE: None}).status_code, 200)
        self.assertEqual(self.send("patch", {KEY: None}).status_code, 200)

    def test_passphrase_of_a_key_that_has_none_is_stored(self):
        body = {KEY: private_key(), PASSPHRASE: "of no use"}
        self.assertEqual(self.send("put", body).status_code, 200)
        self.assertEqual(self.secrets(), body)

    def test_passphrase_beside_an_unreadable_stored_key_is_stored(self):
        self.send("put", {KEY: private_key("right"), PASSPHRASE: "right"})
        for spoil in (
            functools.partial(self.seal, "stored before keys were checked"),
            self.data_source.credentials.filter(field=KEY).update,
        ):
            with self.subTest(spoil=str(spoil)[:40]):
                if isinstance(spoil, functools.partial):
                    spoil()
                else:
                    spoil(ciphertext=b"changed by hand")
                self.assertEqual(self.send("patch", {PASSPHRASE: "other"}).status_code, 200)

    def seal(self, text):
        credential = self.data_source.credentials.get(field=KEY)
        credential.seal(text, credential.destination)
        credential.save()

    def test_errors_of_key_and_password_are_reported_together(self):
        body = {KEY: "hunter2", "password": "***"}
        self.assert_refused("put", body, KEY, "password")
        body = {KEY: private_key("right"), "password": "***"}
        self.assert_refused("put", body, PASSPHRASE, "password")


class OtherSecretsTests(CredentialsEndpointTestCase):
    def assert_mended(self, field, text, stored):
        self.assertEqual(self.send("put", {field: text}).status_code, 200)
        self.assertEqual(self.secrets(), {field: stored})

    def test_line_breaks_around_a_password_are_left_out(self):
        for field in ("password", "ssh_password", PASSPHRASE):
            for text in ("hunter2\n", "hunter2\r\n", "\nhunter2", "\ufeffhunter2\n\n", "hunter2\r"):
                with self.subTest(field, text=text):
                    self.assert_mended(field, text, "hunter2")
            for text in (" hunter2 ", "hunter\n2", "\thunter2", "bearer hunter2", '"hunter2"'):
                with self.subTest(field, text=text):
                    self.assert_mended(field, text, text)
            for text in ("\n", "\r\n", "\ufeff", "\ufeff\n"):
                with self.subTest(field, text=text):
                    self.assert_refused("put", {field: text}, field)

    def test_private_key_as_password_is_refused(self):
        for field in ("password", "ssh_password", PASSPHRASE):
            error = self.assert_refused("put", {field: private_key()}, field)
            self.assertIn("Enter it as ssh_private_key", error["details"][field][0])

    def test_token_is_stored_without_bearer_and_quotes(self):
        self.use_type("databricks")
        for text in (
            *("dapi12", " dapi12\n", "Bearer dapi12", "bearer  dapi12\n", '"dapi12"', "'dapi12'\n"),
            *("Authorization: Bearer dapi12", '"Bearer dapi12"', "\xa0dapi12"),
            *("dapi12\u200b", "\ufeff dapi12", "\u201cdapi12\u201d", "`dapi12`", "\u2060dapi12\n"),
        ):
            with self.subTest(text):
                self.assert_mended("token", text, "dapi12")
        for text in ("dapi\n12", "dapi\t12", "\n", " ", "Bearer ", '""', "Bearer \n"):
            with self.subTest(text):
                self.assert_refused("put", {"token": text}, "token")
        for text in ("XdapiX", "bearerless", "ver:1-hint:2-3/4+5==", "eyJh.eyJz._-~", "a'b"):
            self.assert_mended("token", text, text)

    def test_placeholder_of_a_token_is_refused(self):
        self.use_type("databricks")
        for text in ("<token>", "${TOKEN}", "{{ token }}", "$(cat token)", "[YOUR-TOKEN]"):
            with self.subTest(text):
                self.assert_refused("put", {"token": text}, "token")

    def test_space_around_a_username_is_left_out(self):
        for text in ("reader", " reader", "reader\n", "\treader\r\n", "\xa0reader"):
            with self.subTest(text):
                self.send("put", {"username": text})
                self.assertEqual(self.shown()["username"], "reader")
                self.data_source.set_credentials({"username": None}, user=None)
                self.data_source.set_credentials({"username": text}, user=None)
                self.assertEqual(self.shown()["username"], "reader")
        for text in ("app@shop-db", "ACME\\reader", "a b", "ü"):
            with self.subTest(text):
                self.assertEqual(self.send("put", {"username": text}).status_code, 200)
                self.assertEqual(self.shown()["username"], text)
        for text in (" ", "\n", "reader\nadmin", "a\x1bb", "a\u2028b"):
            with self.subTest(text):
                self.assert_refused("put", {"username": text}, "username")


class ServiceAccountTests(CredentialsEndpointTestCase):
    def setUp(self):
        super().setUp()
        self.use_type("bigquery")

    def test_pasted_service_account_is_stored_mended(self):
        text = service_account()
        encoded = base64.b64encode(text.encode()).decode()
        for pasted_text in (
            *(text, f"\n {text}\n", f"\ufeff{text}", f"'{text}'", json.dumps(text)),
            *(encoded, base64.encodebytes(text.encode()).decode()),
            base64.b64encode(f"\ufeff{text}\n".encode()).decode(),
            base64.b64encode(text.encode("utf-16")).decode(),
            *(f"GOOGLE_CREDENTIALS='{text}'", f"```json\n{text}\n```", f'"{text}"', f"{text};"),
            *(f"[{text}]", f"\u200b{text}", f"\u201c{text}\u201d", f"// key\n{text}"),
        ):
            with self.subTest(text=pasted_text[:12]):
                body = {"service_account_json": pasted_text}
                self.assertEqual(self.send("put", body).status_code, 200)
                self.assertEqual(self.secrets(), {"service_account_json": text})

    def test_objects_within_a_service_account_are_kept(self):
        text = json.dumps(json.loads(service_account()) | {"labels": {"team": "sales"}})
        response = self.send("put", {"service_account_json": f"KEY='{text}'"})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.secrets(), {"service_account_json": text})

    def test_key_in_a_service_account_is_mended(self):
        key = json.loads(service_account())
        spelled_out = key | {"private_key": key["private_key"].replace("\n", "\\n")}
        response = self.send("put", {"service_account_json": json.dumps(spelled_out)})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(json.loads(self.secrets()["service_account_json"]), key)

    def test_line_breaks_within_the_strings_of_a_service_account_are_mended(self):
        text = service_account()
        broken = text.replace("\\n", "\n")
        encoded = base64.b64encode(broken.encode()).decode()
        for pasted_text in (broken, f"'{broken}'", encoded, text.replace("\\n", "\r\n")):
            with self.subTest(text=pasted_text[:12]):
                response = self.send("put", {"service_account_json": pasted_text})
                self.assertEqual(response.status_code, 200)
                stored = json.loads(self.secrets()["service_account_json"])
                self.assertEqual(stored, json.loads(text))

    def test_encrypted_key_in_a_service_account_asks_for_no_passphrase(self):
        key = json.loads(service_account()) | {"private_key": private_key("hunter2", "pkcs8-pem")}
        body = {"service_account_json": json.dumps(key)}
        error = self.assert_refused("put", body, "service_account_json")
        self.assertIn('"private_key" is encrypted', error["details"]["service_account_json"][0])
        self.assertNotIn("passphrase", json.dumps(error))

    def test_unusable_service_account_is_refused_with_a_hint(self):
        key = json.loads(service_account())
        other = private_key(form="pkcs8-pem")
        cut_off = key["private_key"][:99]
        for words, value in (
            ("OAuth client", {"installed": {"client_id": "hunter2"}}),
            ("OAuth client", {"web": {"client_id": "hunter2"}}),
            ("login of a person", {"type": "authorized_user", "refresh_token": "hunter2"}),
            ("workload identity", {"type": "external_account", "audience": "hunter2"}),
            ('"type" must be', {"type": "hunter2"}),
            ('"type" must be', {"type": ["service_account"]}),
            ('"type" must be', {}),
            ("JSON object", [key, key]),
            ('"client_email" is missing', key | {"client_email": ""}),
            ('"private_key" is missing', key | {"private_key": None}),
            ('"private_key": This is no private key', key | {"private_key": "hunter2"}),
            (
                '"private_key": The private key is cut off',
                key | {"private_key": cut_off},
            ),
            ('"private_key": A part', key | {"private_key": "-----BEGIN PRIVATE KEY-----\n***"}),
            ("no RSA key", key | {"private_key": other}),
            ("token_uri", key | {"token_uri": "https://hunter2.example/token"}),
        ):
            with self.subTest(words):
                body = {"service_account_json": json.dumps(value)}
                error = self.assert_refused("put", body, "service_account_json")
                self.assertIn(words, error["details"]["service_account_json"][0])
                self.assertNotIn("hunter2", json.dumps(error))
