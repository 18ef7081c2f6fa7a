"""Tests of a backup restored as docs/operating.md describes: the data, and the keys it needs."""

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from psycopg import sql

from datasources.testing import DataSourceTestMixin
from organizations.testing import PASSWORD, bearer
from rivergen.encryption_keys import generate_key
from rivergen.testing.replication import BINARIES
from rivergen.testing.services import make_database, server_url, url_of

# A script that sends the requests on its input to the service, and prints the responses.
SEND = """
import json, sys
import django
django.setup()
from django.test import Client
answers = []
for method, path, body, authorization in json.load(sys.stdin):
    response = Client(headers={"Host": "127.0.0.1"}).generic(
        method, path, "" if body is None else json.dumps(body), "application/json",
        headers={"Authorization": authorization or ""})
    answers.append([response.status_code, json.loads(response.content or b"null")])
print(json.dumps(answers))
"""


class BackupTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        secrets = {"username": "reader", "password": "the-secret-of-the-source"}
        self.data_source.set_credentials(secrets, user=self.owner)
        self.data_source.apply_changes({"port": 5433}, user=self.owner)
        tokens = {"username": "olivia", "password": PASSWORD}
        signed_in = self.call("post", "/auth/token", tokens).json()["data"]
        self.refresh_token = signed_in["refresh_token"]
        used = self.call("post", "/auth/token", tokens).json()["data"]["refresh_token"]
        self.call("post", "/auth/token/refresh", {"refresh_token": used})
        self.used_refresh_token = used
        self.jobs = self.call("post", f"{self.path}/test", user=self.editor).json()["data"]
        self.name = f"{connection.settings_dict['NAME']}_restored"
        self.restore()

    def restore(self) -> None:
        """Dump the database, and restore it into a new one, which is dropped after the test."""
        self.addCleanup(self.drop)
        restored = make_database(self.name)
        with TemporaryDirectory() as folder:
            dump = f"{folder}/rivergen.dump"
            original = url_of(str(connection.settings_dict["NAME"]))
            self.run_program("pg_dump", "--format=custom", f"--file={dump}", original)
            options = ("--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={restored}")
            self.run_program("pg_restore", *options, dump)

    def run_program(self, name: str, *arguments: str) -> None:
        subprocess.run([BINARIES / name, *arguments], check=True)

    def drop(self) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with psycopg.connect(server_url(), autocommit=True) as server:
            server.execute(statement.format(sql.Identifier(self.name)))

    def run_on_restored(self, *command: str, text: str = "", **variables: str) -> str:
        """Run a Python command with the restored database, and return its output."""
        environment = {"DATABASE_URL": url_of(self.name), **variables}
        done = subprocess.run(
            [sys.executable, *command],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "rivergen.settings"} | environment,
            input=text,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def send(self, *requests: tuple[str, str, Any, str | None], **variables: str) -> Any:
        """Send requests to the restored service, and return pairs of status and body."""
        return json.loads(self.run_on_restored("-c", SEND, text=json.dumps(requests), **variables))

    def test_restored_service_has_all_data_and_works(self):
        owner = bearer(self.owner)
        path = f"/api/v1{self.path}"
        new = {"name": "New", "type": "csv"}
        exchange = "/api/v1/auth/token/refresh"
        ready, shown, history, created, exchanged, refused, test = self.send(
            ("GET", "/readyz", None, None),
            ("GET", path, None, owner),
            ("GET", f"{path}/history", None, owner),
            ("POST", "/api/v1/data-sources", new, owner),
            ("POST", exchange, {"refresh_token": self.refresh_token}, None),
            ("POST", exchange, {"refresh_token": self.used_refresh_token}, None),
            ("GET", f"/api/v1/connection-tests/{self.jobs['test_id']}", None, owner),
        )
        self.assertEqual(ready[0], 200)
        self.assertEqual(shown, [200, {**shown[1], "data": self.shown()}])
        self.assertEqual(len(history[1]["data"]), 3)
        self.assertEqual(created[0], 201)
        self.assertGreater(created[1]["data"]["id"], self.data_source.pk)
        # Tokens are signed with SECRET_KEY; used refresh tokens are recorded in the database.
        self.assertEqual(exchanged[0], 200)
        self.assertEqual(refused[0], 401)
        self.assertIsNone(test[1]["data"]["finished_at"])
        self.run_on_restored("manage.py", "migrate", "--check")

    def test_restored_secrets_open_only_with_the_original_keys(self):
        read = (
            "from datasources.models import DataSource; "
            f"print(DataSource.objects.get(pk={self.data_source.pk}).credentials.open()['password'])"
        )
        shell = ("manage.py", "shell", "--verbosity", "0", "--command", read)
        self.assertEqual(self.run_on_restored(*shell).strip(), "the-secret-of-the-source")
        [[status, body]] = self.send(
            ("POST", f"/api/v1{self.path}/test", None, bearer(self.editor)),
            ENCRYPTION_KEYS=generate_key(),
        )
        self.assertEqual((status, body["error"]["code"]), (409, "CREDENTIALS_UNREADABLE"))
        self.assertNotIn("the-secret-of-the-source", json.dumps(body))
