"""Send secrets through every route of the API and the admin, and search all output for them."""

import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock
from urllib.parse import quote

from django.test import TransactionTestCase

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import run_jobs
from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.connections.testing.private_keys import private_key_with, service_account
from datasources.credentials.cipher import KeyRing
from datasources.credentials.serializers import CredentialsSerializer, CredentialsUpdateSerializer
from datasources.models import DataSource
from datasources.schemas.testing import column, refresh, table
from datasources.serializers import DataSourceUpdateSerializer
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client, filled_in
from organizations.models import User
from organizations.testing import PASSWORD
from rivergen.http.input import entity_tag
from rivergen.testing.leaks import Canary, everything_logged, pg_dump

# The types whose secrets are entered, and the credential fields of each.
FIELDS_OF_TYPES = {
    "snowflake": (
        *("password", "token", "ssh_password", "ssh_private_key"),
        "ssh_private_key_passphrase",
    ),
    "bigquery": ("service_account_json",),
}


class LeakTestCase(DataSourceTestMixin, TransactionTestCase):
    """Call every route and admin page with canary secrets, valid and invalid.

    `find_leaks` returns which of the canaries were found in responses, logs or the database.
    """

    def setUp(self) -> None:
        self.make_world()
        self.canaries: dict[str, Canary] = {}
        self.responses: list[str] = []
        self.visited: set[tuple[str, str]] = set()

    def canary(self, name: str, *start_and_end: str) -> Canary:
        """Return a new canary, recorded under a name."""
        canary = self.canaries[name] = Canary(*start_and_end)
        return canary

    def secret(self, field: str, where: str) -> Canary:
        """Return a new canary that is valid as a credential field."""
        canary = self.canary(f"{field} {where}")
        if field == "ssh_private_key":
            return Canary.within(private_key_with(canary.core), canary.core)
        if field == "service_account_json":
            return Canary.within(service_account(private_key_id=canary.core), canary.core)
        return canary

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        user: User | None = None,
        if_match: int | None = None,
    ) -> Any:
        """Send a request and keep the response."""
        # With a key, a successful response is stored in the database, which is searched too.
        headers = {"Idempotency-Key": f"{len(self.responses)}"}
        if if_match is not None:
            headers["If-Match"] = entity_tag(if_match)
        response = self.call(method, path, body, user or self.owner, headers=headers)
        self.responses.append(f"{response.serialize_headers()!r} {response.content.decode()}")
        if response.resolver_match is not None:
            self.visited.add((method, f"/{response.resolver_match.route}"))
        return response

    def send_and_succeed(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        response = self.send(method, path, body, **options)
        self.assertLess(response.status_code, 300, response.content)
        return response.json()["data"] if response.content else None

    def call_every_route(self) -> None:
        """Call every route of the API, and the pages of the admin."""
        self.sign_in()
        for type_name, fields in FIELDS_OF_TYPES.items():
            self.enter_credentials(type_name, fields)
            self.create_with_credentials(type_name, fields)
        self.enter_connection_strings()
        self.enter_secrets_in_other_fields()
        self.run_connection_tests()
        self.read_schemas()
        self.apply_declarations()
        self.raise_unexpected_errors()
        self.use_the_admin()
        self.call_remaining_routes()

    def sign_in(self) -> None:
        self.send("post", "/auth/token", {"username": "olivia", "password": self.canary("wrong")})
        self.owner.set_password(canary := self.canary("password of a user"))
        self.owner.save()
        tokens = {"username": "olivia", "password": canary}
        refresh_token = self.send_and_succeed("post", "/auth/token", tokens)["refresh_token"]
        self.send_and_succeed("post", "/auth/token/refresh", {"refresh_token": refresh_token})
        self.owner.set_password(PASSWORD)
        self.owner.save()

    def enter_credentials(self, type_name: str, fields: tuple[str, ...]) -> None:
        data = {"name": type_name, "type": type_name, "host": "db.example.com"}
        path = f"/data-sources/{self.send_and_succeed('post', '/data-sources', data)['id']}"
        for method in ("put", "patch"):
            secrets = {field: self.secret(field, f"by {method}") for field in fields}
            self.send_and_succeed(method, f"{path}/credentials", secrets)
        self.send_and_succeed("get", f"{path}/credentials")
        self.send_and_succeed("patch", path, {"host": "moved"}, user=self.editor)
        version = self.send_and_succeed("get", path)["version"]
        self.send_and_succeed("post", f"{path}/credentials/confirm", if_match=version)
        self.send_and_succeed("patch", path, {"port": 5})
        for field in SECRET_FIELDS:
            for value in (self.canary(f"{field}, bad"), [self.canary(f"{field}, list")]):
                self.send("patch", f"{path}/credentials", {field: value, "x": value})
        self.send_and_succeed("post", f"{path}/history/1/restore")
        self.send_and_succeed("get", f"{path}/history")
        with self.settings(ENCRYPTION_KEYS=[b"k" * 32]):
            version = self.send_and_succeed("patch", path, {"host": "again"})["version"]
            self.send("post", f"{path}/credentials/confirm", if_match=version)
        self.read_representations(DataSource.objects.get(name=type_name), secrets)

    def create_with_credentials(self, type_name: str, fields: tuple[str, ...]) -> None:
        """Create a data source with its credentials, after attempts that are refused."""
        data: dict[str, Any] = {"name": f"{type_name} at once", "type": type_name}
        for field in fields:
            value = self.canary(f"{field} of a creation, list")
            self.send("post", "/data-sources", {**data, "credentials": {field: [value]}})
            self.send("post", "/data-sources", {**data, "credentials": [value]})
        for method in ("unfit", "misspelt", "a bug", "valid"):
            secrets = {field: self.secret(field, f"of a creation, {method}") for field in fields}
            body = {**data, "credentials": secrets}
            if method == "unfit":
                body["type"] = "csv"
            elif method == "misspelt":
                secrets["pasword"] = self.canary("misspelt secret of a creation")
            if method == "a bug":
                with mock.patch.object(KeyRing, "seal", side_effect=RuntimeError):
                    self.send("post", "/data-sources", body)
            elif method == "valid":
                self.send_and_succeed("post", "/data-sources", body)
            else:
                self.send("post", "/data-sources", body)
        twice = self.canary("given twice")
        url = f"postgresql://me:{quote(twice, safe='')}@db/x"
        body = {"name": "n", "type": "postgresql", "connection_string": url}
        self.send("post", "/data-sources", {**body, "credentials": {"password": twice}})

    def read_representations(self, data_source: DataSource, secrets: dict[str, Any]) -> None:
        """Record the reprs that a debugger, or a log of variables, would show."""
        data_source.apply_changes({"host": None}, user=self.owner)
        data_source.set_credentials(
            {field: f"{text} " for field, text in secrets.items()}, user=None
        )
        update = CredentialsUpdateSerializer(data_source, data=secrets, partial=True)
        update.is_valid(raise_exception=True)
        opened = data_source.credentials.open()
        shown = [data_source, *data_source.credentials.all(), update, opened, *opened.items()]
        self.responses += [f"{item!r}" for item in (*shown, CredentialsSerializer(data_source))]

    def enter_connection_strings(self) -> None:
        for number, (method, path, url) in enumerate(
            (
                ("post", "/data-sources", "postgresql://me:{}@db/x"),
                ("post", "/data-sources", "postgresql://me@db/x?password={}"),
                ("patch", self.path, "postgresql://me:{}@db/x"),
                ("patch", f"{self.path}?dry_run=true", "postgresql://me:{}@other/x"),
                ("patch", self.path, "postgresql://me@db/x?sslmode=require&passwd={}"),
                ("patch", self.path, "postgresql://me:{}@[::1/x"),
                ("patch", self.path, "postgresql://me:{}@a,b/x"),
                ("patch", self.path, "postgresql://me:{}@db:port/x"),
                ("patch", self.path, "postgresql://me:{}@db/x?hostaddr=1.1.1.1"),
                ("patch", self.path, "postgresql://me@db/x?sslpassword={}"),
                ("patch", self.path, "postgresql://me@db/x?{}=1"),
                ("patch", self.path, "mysql://me:{}@db/x"),
                ("patch", self.path, "postgresql://me:{}@d℀b/x"),
                ("patch", self.path, "postgresql://[me:{}@db/x"),
                ("patch", self.path, "me:{}@db"),
            )
        ):
            canary = self.canary(f"{method} {url}")
            body = {"connection_string": url.format(quote(canary, safe=""))}
            if method == "post":
                body |= {"name": f"s{number}", "type": "postgresql"}
            self.send(method, path, body)
        data = {"connection_string": url, "use_ssh_tunnel": self.canary("not a boolean")}
        update = DataSourceUpdateSerializer(self.data_source, data=data, partial=True)
        self.responses.append(repr(update))

    def enter_secrets_in_other_fields(self) -> None:
        for field in ("password", "token", "pasword", "metadata"):
            value = {"db_password": self.canary("metadata")} if field == "metadata" else None
            self.send("patch", self.path, {field: value or self.canary(field)})
            update: dict[str, Any] = {"id": self.data_source.pk}
            update[field] = value or self.canary(f"{field} of many")
            for query in ("", "?atomic=false"):
                self.send("patch", f"/data-sources{query}", {"updates": [update]})
        for end in ("@db/x", "@a,b/x"):
            url = f"postgresql://me:{quote(self.canary(f'string of many {end}'), safe='')}{end}"
            update = {"id": self.data_source.pk, "connection_string": url}
            for query in ("?dry_run=true", ""):
                self.send("patch", f"/data-sources{query}", {"updates": [update]})
        self.send("put", f"{self.path}/credentials", {"token": self.canary("unfit")})
        broken = json.dumps({"password": self.canary("broken JSON")})[:-1].encode()
        self.send("put", f"{self.path}/credentials", broken)

    def run_connection_tests(self) -> None:
        """Run connection tests of stored and of draft configurations."""
        password = {"password": self.canary("password of a tested source")}
        self.send_and_succeed("put", f"{self.path}/credentials", password)
        self.send_and_succeed("post", f"{self.path}/test")
        self.send_and_succeed("post", "/data-sources/test", {"ids": [self.data_source.pk]})
        url = f"postgresql://me:{quote(self.canary('string of a draft'), safe='')}@127.0.0.1/x"
        draft = {"type": "postgresql", "connection_string": url}
        credentials = {"ssh_password": self.canary("SSH password of a draft")}
        for body in (
            {**draft, "credentials": credentials},
            {"based_on": self.data_source.pk, "host": "127.0.0.1", "credentials": credentials},
        ):
            test_id = self.send_and_succeed("post", "/data-sources/test", body)["test_id"]
        self.unrun_dump = pg_dump()
        run_jobs()
        for where in ("bad", "list"):
            value: Any = self.canary(f"credentials of a draft, {where}")
            value = [value] if where == "list" else value
            self.send("post", "/data-sources/test", {**draft, "credentials": value, "x": value})
            self.send("post", "/data-sources/test", {**draft, "credentials": {"token": value}})
        self.send_and_succeed("get", f"/connection-tests/{test_id}")
        self.assertEqual(ConnectionTest.objects.running().count(), 0)
        with mock.patch("datasources.connection_tests.verification.wait_for"):
            self.send("patch", f"{self.path}?verify=true", {"connection_string": url})
        self.send("post", f"{self.path}/ssh-host-key/confirm", {"fingerprint": "SHA256:x"})

    def read_schemas(self) -> None:
        self.send_and_succeed("post", f"{self.path}/schema/refresh")
        run_jobs()
        self.send_and_succeed("get", f"{self.path}/schema/refresh")
        refresh(DataSource.objects.get(pk=self.data_source.pk), table("orders", column("id")))
        for path in ("schema", "schema/snapshots", "schema/changes"):
            self.send_and_succeed("get", f"{self.path}/{path}")

    def apply_declarations(self) -> None:
        """Declare a secret by reference, as is right, and secrets in plain text, as is not."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        file = folder / str(self.acme.pk) / "declared"
        file.parent.mkdir()
        file.write_text(self.canary("file that is referred to"))
        declared = {"name": "Declared", "type": "mysql", "host": "db.example.com"}
        right = {"credentials": {"password": "${file:declared}"}}
        url = f"mysql://me:{quote(self.canary('string that is declared'), safe='')}@db/x"
        with self.settings(SECRETS_ROOT=str(folder)):
            body = {"data_sources": [{**declared, **right}]}
            self.send_and_succeed("post", "/data-sources/apply", body)
            for wrong in (
                {"credentials": {"password": self.canary("declared as it is")}},
                {"credentials": {"token": self.canary("declared, and unfit")}},
                {"credentials": self.canary("declared as all credentials")},
                {"connection_string": url},
                {**right, "port": self.canary("no port")},
            ):
                body = {"data_sources": [{**declared, **wrong}]}
                self.send("post", "/data-sources/apply", body)

    def raise_unexpected_errors(self) -> None:
        """Fail while secrets are in local variables: the traceback goes to the log."""
        for name in ("seal", "open"):
            with mock.patch.object(KeyRing, name, side_effect=RuntimeError):
                body = {"password": self.canary(f"a bug in {name}"), "ssh_password": None}
                self.send("put", f"{self.path}/credentials", body)
                url = f"postgresql://me:{quote(self.canary(f'a string and {name}'), safe='')}@b/x"
                self.send("patch", self.path, {"connection_string": url})

    def use_the_admin(self) -> None:
        client = admin_client(self.admin, raise_request_exception=False)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

        def save(**changes: Any) -> Any:
            response = client.post(page, filled_in(client, page, **changes), follow=True)
            self.responses.append(response.content.decode())
            return response

        for debug in (False, True):
            for port, end in ((1, "@db/x"), ("0", "@db/x"), (1, "@[db/x"), (1, "@d℀b/x")):
                canary = self.canary(f"admin {port} {end} {debug}")
                url = f"postgresql://me:{quote(canary, safe='')}{end}"
                with self.settings(DEBUG=debug):
                    response = save(connection_string=url, port=port)
                self.assertEqual(response.status_code, 200)
            metadata = json.dumps({"api_key": self.canary(f"metadata in the admin {debug}")})
            self.assertEqual(save(metadata=metadata).status_code, 200)
        url = f"postgresql://me:{quote(self.canary('a bug in the admin'), safe='')}@db/x"
        is_broken = mock.patch.object(DataSource, "_record", side_effect=RuntimeError)
        with is_broken, self.settings(DEBUG=True):
            self.assertIn("RuntimeError", save(connection_string=url).content.decode())
        for field in self.data_source.connector.credential_fields[1:]:
            save(**{field: self.secret(field, "in the admin")})
            save(**{field: self.canary(f"{field} beside an error"), "port": "0"})
            is_broken = mock.patch.object(KeyRing, "seal", side_effect=RuntimeError)
            with is_broken, self.settings(DEBUG=True):
                response = save(**{field: self.secret(field, "and a bug in the admin")})
            self.assertIn("RuntimeError", response.content.decode())
        pages = page.removesuffix("change/")
        for button in ("test-connection", "refresh-schema", "confirm-credentials", "restore"):
            response = client.post(f"{pages}{button}/", {"version": 1, "to": 1}, follow=True)
            self.responses.append(response.content.decode())
        for path in (
            *(ADMIN_PAGES, f"{ADMIN_PAGES}add/", f"{ADMIN_PAGES}overview/"),
            *(page, f"{pages}history/", f"{pages}schema/", f"{pages}delete/"),
        ):
            self.responses.append(client.get(path).content.decode())

    def call_remaining_routes(self) -> None:
        """Call the routes that take no secret, too, deletions last."""
        organization = f"/organizations/{self.acme.pk}"
        for path in ("/me", "/openapi.json", "/organizations", "/data-sources", organization):
            self.send("get", path)
        self.send("get", "/data-source-types")
        self.send("get", self.path)
        for name in ("members", "workspaces"):
            self.send("get", f"{organization}/{name}")
        self.send("post", f"{organization}/members", {"username": "leo", "role": "viewer"})
        workspace = self.send_and_succeed("post", f"{organization}/workspaces", {"name": "New"})
        for path, body in (
            (f"{organization}/members/{self.loner.pk}", {"role": "editor"}),
            (f"{organization}/workspaces/{workspace['id']}", {"name": "Newer"}),
            (organization, {"name": "New"}),
        ):
            self.send_and_succeed("patch", path, body)
            self.send_and_succeed("get", path)
        for path in (
            f"{organization}/members/{self.loner.pk}",
            f"{organization}/workspaces/{workspace['id']}",
        ):
            self.send_and_succeed("delete", path)
        self.dump_before_deletions = pg_dump()
        self.send_and_succeed("delete", f"{self.path}/credentials")
        self.send_and_succeed("delete", self.path)
        self.send_and_succeed("delete", organization)

    def find_leaks(self) -> dict[str, set[str]]:
        """Call every route; return the leaked canaries by place (responses, log, database)."""
        with everything_logged() as log:
            self.call_every_route()
        places = {
            "responses": "\n".join(self.responses),
            "log": log.getvalue(),
            "database": f"{self.unrun_dump}{self.dump_before_deletions}{pg_dump()}",
        }
        leaks: dict[str, set[str]] = defaultdict(set)
        for place, text in places.items():
            for name, canary in self.canaries.items():
                leaks[place].update(f"{name} ({how})" for how in canary.leaks_into(text))
        return {place: names for place, names in leaks.items() if names}
