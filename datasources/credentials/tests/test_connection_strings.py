"""Passwords in connection strings: moved to the credentials, never stored in clear or shown."""

import json
from contextlib import suppress
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from datasources.connections.connectors import CONNECTORS
from datasources.models import DataSource
from datasources.models.connection_strings import (
    read_connection_string,
    split_secrets,
    url_destination,
    validate_connection_string,
    validate_fit,
    without_secrets,
)
from datasources.testing import DataSourceTestCase
from rivergen.hosts import comparable_host

SECRET = "hunter2"
# Connection strings: as sent, as stored, and the password.
POSTGRESQL = (
    ("postgresql://reader:hunter2@db/x", "postgresql://reader@db/x", "hunter2"),
    ("postgresql://:hunter2@db/x", "postgresql://db/x", "hunter2"),
    ("postgresql://reader:hun%40ter%2F2@db:5433/x", "postgresql://reader@db:5433/x", "hun@ter/2"),
    ("postgresql://re%40der:a:b@db/x", "postgresql://re%40der@db/x", "a:b"),
    ("postgresql://reader:p%C3%A4ss@db", "postgresql://reader@db", "päss"),
    ("postgresql://reader:a+b@db", "postgresql://reader@db", "a+b"),
    ("postgresql://reader@db/x?password=hunter2", "postgresql://reader@db/x", "hunter2"),
    ("postgresql://db?password=a%2Bb%26c", "postgresql://db", "a+b&c"),
    (
        "postgresql://db/x?sslmode=require&password=hunter2&application_name=a%20b",
        "postgresql://db/x?sslmode=require&application_name=a%20b",
        "hunter2",
    ),
    ("postgresql://db/x?PassWord=hunter2", "postgresql://db/x", "hunter2"),
    ("postgresql://db/x?p%61ssword=hunter2", "postgresql://db/x", "hunter2"),
    ("postgresql://reader:hunter2@[::1]:5432/x", "postgresql://reader@[::1]:5432/x", "hunter2"),
    ("postgresql://reader:@db/x", "postgresql://reader@db/x", None),
    ("postgresql://db/x?password=", "postgresql://db/x", None),
)
OTHER_TYPES = (
    ("mysql", "mysql://me:hunter2@db/x?charset=utf8", "mysql://me@db/x?charset=utf8", "password"),
    ("mariadb", "mariadb://db/x?passwd=hunter2", "mariadb://db/x", "password"),
    ("mssql", "mssql://db/x?pwd=hunter2", "mssql://db/x", "password"),
    (
        "mongodb",
        "mongodb+srv://me:hunter2@db/x?w=1",
        "mongodb+srv://me@db/x?w=1",
        "password",
    ),
    ("databricks", "databricks://token:hunter2@db/", "databricks://token@db/", "token"),
    ("databricks", "databricks://db?access_token=hunter2", "databricks://db", "token"),
    ("trino", "trino://me:hunter2@db/x", "trino://me@db/x", "password"),
    ("trino", "trino://me@db/x?token=hunter2", "trino://me@db/x", "token"),
)
REFUSED = (
    "postgresql://reader:hunter2@[::1/x",
    "postgresql://reader:hunter2@db:port/x",
    "postgresql://reader:hunter2@db:0/x",
    "postgresql://reader:hunter2@a,b/x",
    "postgresql://reader:hunter2@/x",
    "postgresql://reader:hunter2@db/x?host=/tmp",
    "postgresql://reader:hunter2@db/x?hostaddr=127.0.0.1",
    "postgresql://reader:hunter2@db/x?service=a",
    "postgresql://reader:hunter2@db/x?passfile=/a",
    "postgresql://reader:hunter2@db/x?options=-c%20a",
    "postgresql://reader:hunter2@db/x?sslpassword=hunter2",
    "postgresql://reader@db/x?api_key=hunter2",
    "postgresql://reader@db/x?token=hunter2",
    "postgresql://reader:hunter2@db/x?password=hunter2",
    "postgresql://db/x?password=hunter2&passwd=hunter2",
    "postgresql://db/x?password=hunter2&password=hunter2",
    "postgresql://reader:hunter2#@db/x",
    "postgresql://reader:hunter2 @db/x",
    "postgresql://reader:hunter2%@db/x",
    "postgresql://reader:hunter2%FF@db/x",
    "postgresql://reader:hunter2%00@db/x",
    "postgresql://reader:hunter2%0A@db/x",
    # Unescaped, a part of the password would become path or options.
    "postgresql://reader:12/hunter2@db/x",
    "postgresql://reader:12?hunter2@db/x",
    "postgresql://reader:hun@hunter2@db/x",
    "postgresql://db/x?password=hunter2+",
    "postgresql://[::1]:hunter2@db/x",
    "postgresql://reader[hunter2]@db/x",
    "postgresql://reader:hunter2]@db/x",
    "postgresql://reader:hunter2@db/[x",
    "postgresql://reader:hunter2@d℀b/x",
    "mysql://reader:hunter2@db/x",
    "reader:hunter2@db/x",
)

# Pieces of connection strings, to be joined in any order.
PIECES = (
    *("@", ":", "/", "?", "&", "=", "[", "]", ",", "#", "%", "+", "db", "evil.com", "me", "a b"),
    *("[::1]", "5432", ":5432", "%40", "%2F", "%3A", "%5B", "password", "hunter2", "sslmode"),
    *("sslmode=require", "application_name=", "host=", "hostaddr=1.1.1.1", "?password=x", "@db"),
    *("me:hunter2@", "?", "&", "db.example.com"),
)


class ConnectionStringTests(DataSourceTestCase):
    def patch(self, body: dict[str, Any]) -> Any:
        return self.call("patch", self.path, body, self.editor)

    def secrets(self, data_source: DataSource) -> dict[str, str]:
        return {**DataSource.objects.get(pk=data_source.pk).credentials.open()}

    def clear(self) -> None:
        self.call("delete", f"{self.path}/credentials", user=self.editor)
        self.patch({"connection_string": None})

    def test_password_of_a_connection_string_moves_to_the_credentials(self):
        for sent, kept, password in POSTGRESQL:
            with self.subTest(sent=sent):
                self.clear()
                response = self.patch({"connection_string": sent})
                self.assertEqual(response.status_code, 200, response.content)
                self.assertEqual(response.json()["data"]["connection_string"], kept)
                self.assertEqual(self.stored()["connection_string"], kept)
                expected = {} if password is None else {"password": password}
                self.assertEqual(self.secrets(self.data_source), expected)
                status = "set" if password else "unset"
                self.assertEqual(response.json()["data"]["credentials_status"], status)

    def test_create_moves_the_secret_of_a_connection_string_to_the_credentials(self):
        for number, (type_name, sent, kept, field) in enumerate(OTHER_TYPES):
            with self.subTest(sent=sent):
                body = {"name": f"s{number}", "type": type_name, "connection_string": sent}
                response = self.call("post", "/data-sources", body, self.editor)
                self.assertEqual(response.status_code, 201, response.content)
                data = response.json()["data"]
                self.assertEqual(data["connection_string"], kept)
                self.assertEqual(data["credentials_status"], "set")
                data_source = DataSource.objects.get(pk=data["id"])
                self.assertEqual(self.secrets(data_source), {field: SECRET})
                (revision,) = data_source.revisions.all()
                self.assertEqual(revision.changes[field], {"from": "unset", "to": "set"})
                self.assertNotIn(SECRET, json.dumps(revision.changes))
                credentials = data_source.credentials.get()
                self.assertEqual(credentials.set_by, self.editor)

    def test_models_move_the_password_of_a_connection_string_to_the_credentials(self):
        url, kept = "postgresql://me:hunter2@db/x", "postgresql://me@db/x"
        made = {"workspace": self.workspace, "type": "postgresql", "connection_string": url}
        one = DataSource.objects.create(name="One", **made)
        (many,) = DataSource.objects.bulk_create([DataSource(name="Many", **made)])
        self.data_source.apply_changes({"connection_string": url}, user=self.editor)
        for data_source in (one, many, self.data_source):
            with self.subTest(data_source.name):
                self.assertEqual(data_source.connection_string, kept)
                stored = DataSource.objects.get(pk=data_source.pk)
                self.assertEqual(stored.connection_string, kept)
                self.assertEqual(stored.credentials_status, "set")
                self.assertEqual(self.secrets(stored), {"password": SECRET})
                changes = stored.revisions.first().changes
                self.assertEqual(changes["connection_string"]["to"], kept)
                self.assertEqual(changes["password"], {"from": "unset", "to": "set"})

    def test_patch_with_the_connection_string_of_get_keeps_the_password(self):
        self.patch({"connection_string": "postgresql://reader:hunter2@db/x?sslmode=require"})
        shown = self.shown()
        response = self.patch(shown)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.json()["data"]["version"], shown["version"])
        self.assertEqual(self.secrets(self.data_source), {"password": SECRET})

    def test_pasted_string_is_shown_as_written_and_can_be_sent_back(self):
        url = "postgresql+psycopg2://reader:pa$$w0rd!()*+,;=@db/x?ssl=true&schema=public&pool=5"
        response = self.patch({"connection_string": url})
        self.assertEqual(response.status_code, 200, response.content)
        kept = "postgresql+psycopg2://reader@db/x?ssl=true&schema=public&pool=5"
        shown = self.shown()
        self.assertEqual(shown["connection_string"], kept)
        self.assertEqual(self.secrets(self.data_source), {"password": "pa$$w0rd!()*+,;="})
        configuration = DataSource.objects.get(pk=self.data_source.pk).configuration({})
        self.assertEqual(configuration.options, {"sslmode": "require"})
        again = self.patch(shown).json()["data"]
        self.assertEqual(again["version"], shown["version"])
        self.assertEqual(again["credentials_status"], "set")

    def test_refusal_says_how_to_write_the_password(self):
        for password, words in (
            ("100%hunter2", "In a password write % as %25."),
            ("hunter2/#", "In a password write / as %2F, # as %23."),
            ("hun ter@2", "In a password write @ as %40, a space as %20."),
            ("<password>", "Has a placeholder for a password."),
        ):
            with self.subTest(password):
                response = self.patch({"connection_string": f"postgresql://me:{password}@db/x"})
                error = self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                self.assertIn(words, error["details"]["connection_string"][0])
                self.assertNotIn(password, json.dumps(error))

    def test_placeholder_for_a_password_in_an_option_is_refused(self):
        body = {"connection_string": "postgresql://db/x?password=<password>"}
        error = self.assert_error(self.patch(body), 400, "BAD_REQUEST", "connection_string")
        self.assertIn("placeholder for a password", str(error["details"]))

    def test_plus_sign_is_refused_where_it_may_mean_a_space(self):
        refused = "postgresql://db/x?options=-c+search_path%3Dsales"
        error = self.assert_error(
            self.patch({"connection_string": refused}), 400, "BAD_REQUEST", "connection_string"
        )
        [sentence] = error["details"]["connection_string"]
        self.assertEqual(
            sentence, "In the option options write a space as %20, a plus sign as %2B."
        )
        for harmless in ("application_name=a+b", "fallback_application_name=a+b"):
            response = self.patch({"connection_string": f"postgresql://db/x?{harmless}"})
            self.assertEqual(response.status_code, 200, response.content)

    def test_several_hosts_are_refused_with_an_ssh_tunnel_in_either_order(self):
        url = "mongodb://h1:27017,h2:27017/db?replicaSet=rs0"
        tunnel = {"use_ssh_tunnel": True, "ssh_host": "bastion", "ssh_username": "me"}
        body = {"name": "m", "type": "mongodb", "connection_string": url}
        response = self.call("post", "/data-sources", body | tunnel, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
        response = self.call("post", "/data-sources", body, self.editor)
        self.assertEqual(response.status_code, 201, response.content)
        path = f"/data-sources/{response.json()['data']['id']}"
        response = self.call("patch", path, tunnel, self.editor)
        error = self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
        self.assertIn("only one host", error["details"]["connection_string"][0])

    def test_another_host_in_a_list_is_another_destination(self):
        body = {
            "name": "m",
            "type": "mongodb",
            "connection_string": "mongodb://me:hunter2@h1,h2/db?replicaSet=rs0",
        }
        created = self.call("post", "/data-sources", body, self.editor).json()["data"]
        for hosts, status in (("h1,evil", "unconfirmed"), ("h1", "unconfirmed"), ("h1,h2", None)):
            with self.subTest(hosts), transaction.atomic():
                url = f"mongodb://me@{hosts}/db?replicaSet=rs0"
                path = f"/data-sources/{created['id']}"
                response = self.call("patch", path, {"connection_string": url}, self.editor)
                data = response.json()["data"]
                self.assertEqual(data["credentials_status"], status or "set")
                transaction.set_rollback(True)

    def test_history_shows_that_a_password_was_set_but_not_its_value(self):
        self.patch({"connection_string": "postgresql://reader:hunter2@db/x"})
        self.assertEqual(
            self.data_source.revisions.first().changes,
            {
                "connection_string": {"from": None, "to": "postgresql://reader@db/x"},
                "password": {"from": "unset", "to": "set"},
                "credentials_status": {"from": "unset", "to": "set"},
            },
        )

    def test_refused_connection_string_is_not_quoted_in_the_error(self):
        for value in REFUSED:
            with self.subTest(value=value):
                response = self.patch({"connection_string": value})
                self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                self.assertNotIn(SECRET, response.content.decode())
                self.assertIsNone(self.stored()["connection_string"])
                self.assertFalse(self.data_source.credentials.exists())

    def test_mask_as_password_of_a_connection_string_is_refused(self):
        self.patch({"connection_string": "postgresql://reader:hunter2@db/x"})
        before = self.stored()
        for mask in ("***", "********", "XXXX", "xxxxxxxx", "%2A%2A%2A", "%7B%7Bpassword%7D%7D"):
            for value in (
                f"postgresql://reader:{mask}@db/x",
                f"postgresql://reader@db/x?password={mask}",
            ):
                with self.subTest(value=value):
                    response = self.patch({"connection_string": value})
                    self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                    self.assertEqual(self.stored(), before)
        self.assertEqual(self.secrets(self.data_source), {"password": SECRET})

    def test_connection_string_of_a_type_without_password_takes_no_password(self):
        for url in ("bigquery://me:hunter2@project/x", "bigquery://project/x?password=hunter2"):
            with self.subTest(url=url):
                body = {"name": "b", "type": "bigquery", "connection_string": url}
                response = self.call("post", "/data-sources", body, self.editor)
                error = self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                self.assertIn("takes no password", error["details"]["connection_string"][0])
                self.assertNotIn(SECRET, json.dumps(error))

    def test_connection_string_with_two_secrets_is_refused(self):
        for url in (
            "databricks://token:hunter2@db?access_token=other",
            "databricks://db?access_token=hunter2&token=other",
            "trino://me:hunter2@db?password=other",
        ):
            with self.subTest(url=url):
                body = {"name": "d", "type": url.partition(":")[0], "connection_string": url}
                response = self.call("post", "/data-sources", body, self.editor)
                error = self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                self.assertNotIn(SECRET, json.dumps(error))

    def test_validation_error_of_a_model_does_not_quote_the_password(self):
        for url in ("postgresql://me:hunter2@d℀b/x", "postgresql://me:hunter2@[db/x"):
            made = {"workspace": self.workspace, "type": "postgresql", "connection_string": url}
            for act in (
                lambda made=made: DataSource.objects.create(name="One", **made),
                lambda made=made: DataSource.objects.bulk_create([DataSource(name="Two", **made)]),
                lambda url=url: self.data_source.apply_changes(
                    {"connection_string": url}, user=self.editor
                ),
            ):
                with self.subTest(url=url), self.assertRaises(ValidationError) as caught:
                    act()
                self.assertNotIn(SECRET, repr(caught.exception))

    def test_failed_save_keeps_the_password_for_the_next_attempt(self):
        made = {"workspace": self.workspace, "type": "postgresql"}
        url = "postgresql://me:hunter2@db/x"
        one = DataSource(name=self.data_source.name, connection_string=url, **made)
        with self.assertRaises(ValidationError):
            one.save()
        one.name = "One"
        one.save()
        two = DataSource(name="Two", connection_string=url, **made)
        with self.assertRaises(IntegrityError):
            DataSource.objects.bulk_create([two, DataSource(name="Two", **made)])
        two.save()
        for data_source in (one, two):
            self.assertEqual(data_source.connection_string, "postgresql://me@db/x")
            self.assertEqual(self.secrets(data_source), {"password": SECRET})

    def test_refused_patch_stores_no_password(self):
        url = "postgresql://reader:hunter2@db/x"
        for body in ({"connection_string": url, "port": 0}, {"connection_string": url, "x": 1}):
            with self.subTest(body=body):
                self.assertEqual(self.patch(body).status_code, 400)
                self.assertFalse(self.data_source.credentials.exists())
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        self.assertEqual(self.patch({"connection_string": url, "name": "Taken"}).status_code, 400)
        self.assertFalse(self.data_source.credentials.exists())


class ConnectionStringGrammarTests(SimpleTestCase):
    @settings(max_examples=2_000, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
    def test_accepted_connection_string_means_the_same_to_libpq(self, rest: str):
        text = f"postgresql://{rest}"
        try:
            validate_connection_string(text)
            validate_fit(text, CONNECTORS["postgresql"])
        except ValidationError:
            return
        connector = CONNECTORS["postgresql"]
        kept, secrets = split_secrets(text, connector)
        validate_connection_string(kept)
        self.assertEqual(split_secrets(kept, connector), (kept, {}))
        self.assertEqual(
            url_destination(kept, connector), url_destination(without_secrets(text), connector)
        )
        with suppress(ProgrammingError):  # libpq takes no `=` within a value
            read, ours = conninfo_to_dict(text), read_connection_string(text, connector)
            self.assertEqual(comparable_host(str(read["host"])), ours["host"])
            self.assertEqual(read.get("dbname"), ours["database_name"])
            self.assertEqual(read.get("user"), ours["username"])
            self.assertEqual(read.get("port"), ours["port"] and str(ours["port"]))
            self.assertEqual(read.get("password"), secrets.get("password"))

    def test_valid_connection_string_passes_with_and_without_password(self):
        for sent, kept, _ in POSTGRESQL:
            with self.subTest(sent=sent):
                validate_connection_string(sent)
                validate_connection_string(kept)
