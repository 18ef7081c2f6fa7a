"""End-to-end tests of connection tests: API, worker, SSH server and source, all live."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.test import TransactionTestCase, override_settings

from datasources.connection_tests.testing import WorkerTestCase, run_jobs
from datasources.connections.ssh.host_keys import fingerprint
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.files import write_files
from datasources.connections.testing.openssh import (
    OpenSSH,
    account,
    require_password,
)
from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from rivergen.testing.services import free_port

ADDRESS = "127.0.0.1"
# The MariaDB server has TLS, which its clients use by default.
LOGIN_STAGES = {"postgresql": ["login", "query"], "mariadb": ["tls", "login", "query"]}


class EndToEndTestCase(WorkerTestCase):
    """A test case with a server of each type in `servers`, and an SSH server for tunnels."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.servers = {
            "postgresql": (postgresql, cls.enterClassContext(postgresql.PostgreSQLServer())),
            "mariadb": (mariadb, cls.enterClassContext(mariadb.MariaDBServer())),
        }
        cls.ssh_username, cls.ssh_password = cls.enterClassContext(account())
        cls.ssh_server = cls.enterClassContext(OpenSSH())

    def make_source(self, type_name="postgresql", ssh_server=None, secrets=None, **settings):
        """Return a new data source, reached directly or through `ssh_server` with `secrets`."""
        module, server = self.servers[type_name]
        tunnel = {}
        if ssh_server is not None:
            tunnel = {
                "use_ssh_tunnel": True,
                "ssh_host": ADDRESS,
                "ssh_port": ssh_server.port,
                "ssh_username": self.ssh_username,
            }
            secrets = secrets or {"ssh_private_key": ssh_server.read("key")}
        source = DataSource.objects.create(
            **{
                "workspace": self.workspace,
                "name": f"{type_name} {DataSource.objects.count()}",
                "type": type_name,
                "host": ADDRESS,
                "port": server.port,
                "database_name": module.DATABASE,
                "connection_timeout": 20,
                **tunnel,
                **settings,
            }
        )
        credentials = {"username": module.USERNAME, "password": module.PASSWORD}
        source.set_credentials(credentials | (secrets or {}), user=self.editor)
        return source

    def make_confirmed_source(self, ssh_server=None, **settings):
        """Return a new data source whose SSH host key is confirmed."""
        source = self.make_source(ssh_server=ssh_server or self.ssh_server, **settings)
        self.assertEqual(self.run_test(self.path_of(source))["code"], "SSH_HOST_KEY_UNCONFIRMED")
        self.assert_confirmed(source)
        return source

    def path_of(self, source):
        return f"/data-sources/{source.pk}"

    def show(self, source):
        return self.call("get", self.path_of(source), user=self.viewer).json()["data"]

    def patch(self, source, change, user=None):
        response = self.call("patch", self.path_of(source), change, user or self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        return response.json()["data"]

    def newest_changes(self, source):
        return source.revisions.first().changes

    def confirm(self, source, user=None):
        """Confirm the host key that the last test met, if any, as somebody who has seen it."""
        path = f"{self.path_of(source)}/ssh-host-key/confirm"
        key = DataSource.objects.get(pk=source.pk).presented_host_key or "ssh-ed25519 AAAA"
        return self.call("post", path, {"fingerprint": fingerprint(key)}, user or self.admin)

    def assert_confirmed(self, source):
        response = self.confirm(source)
        self.assertEqual(response.status_code, 200, response.content)
        return response.json()["data"]

    def assert_connects(self, source):
        """Assert that a test succeeds with all stages, and return its result."""
        ssh = ["ssh"] if source.use_ssh_tunnel else []
        stages = ["policy", "dns", "tcp", *ssh, *LOGIN_STAGES[source.type]]
        result = self.run_test(self.path_of(source))
        self.assertEqual((result["ok"], result["code"]), (True, "OK"), result)
        self.assertEqual(self.stages_of(result), [(name, True) for name in stages])
        shown = self.show(source)
        self.assertEqual((shown["last_test"], shown["status"]), (result, "active"))
        return result

    def stages_of(self, result):
        return [(stage["stage"], stage["ok"]) for stage in result["stages"]]


class EndToEndTests(EndToEndTestCase):
    # Tests without an SSH tunnel

    def test_direct_connection_succeeds(self):
        for type_name, version in (("postgresql", "^PostgreSQL "), ("mariadb", "^MariaDB ")):
            with self.subTest(type=type_name):
                result = self.assert_connects(self.make_source(type_name))
                self.assertRegex(result["server_version"], version)

    def test_connection_string_takes_precedence_over_the_fields(self):
        for type_name, (module, server) in self.servers.items():
            with self.subTest(type=type_name):
                url = f"{type_name}://{module.USERNAME}@{ADDRESS}:{server.port}/{module.DATABASE}"
                elsewhere = {"host": "db.example.com", "port": 1, "database_name": "other"}
                source = self.make_source(type_name, connection_string=url, **elsewhere)
                self.assert_connects(source)

    def test_missing_port_is_the_default_port_of_the_type(self):
        source = self.make_source(
            type="mysql", connection_string=f"mysql://{ADDRESS}/shop", port=None
        )
        self.assertEqual(source.configuration({}).port, 3306)
        result = self.run_test(self.path_of(source))
        self.assertEqual(self.stages_of(result)[:2], [("policy", True), ("dns", True)], result)

    # Tests through the SSH server

    def ssh_logins(self):
        """Yield the name and the secrets of each way to log in to the SSH server."""
        yield "key", {"ssh_private_key": self.ssh_server.read("key")}
        yield (
            "key with passphrase",
            {
                "ssh_private_key": self.ssh_server.read("encrypted_key"),
                "ssh_private_key_passphrase": self.ssh_server.passphrase,
            },
        )
        if self.ssh_password is not None:
            yield "password", {"ssh_password": self.ssh_password}

    def test_tunnel_connects_once_the_host_key_is_confirmed(self):
        cases = [("postgresql", name, secrets) for name, secrets in self.ssh_logins()]
        for type_name, name, secrets in (*cases, ("mariadb", "key", None)):
            with self.subTest(type=type_name, ssh=name):
                source = self.make_confirmed_source(type_name=type_name, secrets=secrets)
                self.assert_connects(source)

    def test_cases_include_a_password_login_to_the_ssh_server(self):
        require_password(self.ssh_password)
        self.assertIn("password", dict(self.ssh_logins()))

    def test_first_test_through_a_tunnel_presents_the_host_key_and_sends_no_secret(self):
        with OpenSSH() as server:
            source = self.make_source(ssh_server=server)
            result = self.run_test(self.path_of(source))
            server.wait_for_log("Disconnected from")
            self.assertNotIn("userauth-request", server.log)
        key = server.host_keys["ed25519"]
        self.assertEqual(result["ssh_host_key"], {"key": key, "fingerprint": fingerprint(key)})
        passed = [(name, True) for name in ("policy", "dns", "tcp")]
        self.assertEqual(self.stages_of(result), [*passed, ("ssh", False)])
        shown = self.show(source)
        self.assertEqual((shown["last_test"], shown["status"]), (result, "error"))
        self.assertIsNone(shown["ssh_host_key"])

    def test_admin_confirms_the_presented_host_key(self):
        source = self.make_source(ssh_server=self.ssh_server)
        self.run_test(self.path_of(source))
        before = self.show(source)
        for user in (self.viewer, self.editor, self.stranger):
            self.assertIn(self.confirm(source, user).status_code, (403, 404))
        self.assertEqual(self.show(source), before)
        confirmed = self.assert_confirmed(source)
        key = self.ssh_server.host_keys["ed25519"]
        self.assertEqual(confirmed["ssh_host_key"], key)
        self.assertEqual(confirmed["credentials_status"], "set")
        carried_over = {"from": "set", "to": "carried over"}
        changes = {
            "ssh_host_key": {"from": None, "to": key},
            "password": carried_over,
            "ssh_private_key": carried_over,
        }
        self.assertEqual(self.newest_changes(source), changes)
        self.assertEqual(self.assert_confirmed(source), confirmed)  # again: nothing changes

    def test_no_host_key_can_be_confirmed_before_a_test_or_after_a_change(self):
        source = self.make_source(ssh_server=self.ssh_server)
        self.assert_error(self.confirm(source), 409, "CONFLICT")
        self.run_test(self.path_of(source))
        self.patch(source, {"ssh_port": 2222})
        self.assert_error(self.confirm(source), 409, "CONFLICT")
        self.assertIsNone(self.show(source)["ssh_host_key"])

    def test_host_key_presented_to_a_draft_cannot_be_confirmed(self):
        source = self.make_source(ssh_server=self.ssh_server)
        body = {"based_on": source.pk}
        self.assertIsNotNone(self.run_test("/data-sources", body)["ssh_host_key"])
        self.assert_error(self.confirm(source), 409, "CONFLICT")

    def test_confirming_a_host_key_does_not_confirm_other_secrets(self):
        source = self.make_source(ssh_server=self.ssh_server)
        self.patch(source, {"host": "localhost"})
        source.refresh_from_db()
        source.set_credentials({"ssh_private_key": self.ssh_server.read("key")}, user=self.editor)
        presented = {"key": self.ssh_server.host_keys["ed25519"]}
        result = {"ok": False, "version": source.version, "ssh_host_key": presented}
        DataSource.objects.filter(pk=source.pk).record_test(result, version=source.version)
        self.assertEqual(self.assert_confirmed(source)["credentials_status"], "unconfirmed")
        self.assertNotIn("password", self.newest_changes(source))
        refused = self.call("post", f"{self.path_of(source)}/test", user=self.admin)
        error = self.assert_error(refused, 409, "CREDENTIALS_UNCONFIRMED")
        self.assertIn("Enter password again", error["message"])

    def test_ssh_server_that_presents_another_host_key_gets_no_secret(self):
        with OpenSSH() as first:
            source = self.make_confirmed_source(first)
        another = mock.patch(
            "datasources.connections.testing.openssh.free_port", return_value=first.port
        )
        with another, OpenSSH() as second:
            result = self.run_test(self.path_of(source))
            self.assertEqual(result["code"], "SSH_HOST_KEY_CHANGED")
            self.assertEqual(result["ssh_host_key"]["key"], second.host_keys["ed25519"])
            second.wait_for_log("Disconnected from")
            self.assertNotIn("userauth-request", second.log)
            self.assertEqual(self.show(source)["ssh_host_key"], first.host_keys["ed25519"])
            self.assert_error(self.confirm(source, self.editor), 403, "FORBIDDEN")
            key = self.assert_confirmed(source)["ssh_host_key"]
            self.assertEqual(key, second.host_keys["ed25519"])
            secrets = {"ssh_private_key": second.read("key")}
            source.set_credentials(secrets, user=self.editor)
            self.assert_connects(source)

    def test_changing_the_ssh_server_clears_the_confirmed_host_key(self):
        key = self.ssh_server.host_keys["ed25519"]
        for change in ({"ssh_host": "localhost"}, {"ssh_port": 22}, {"ssh_port": None}):
            with self.subTest(change):
                source = self.make_confirmed_source()
                self.assertIsNone(self.patch(source, change, self.admin)["ssh_host_key"])
                cleared = {"from": key, "to": None}
                self.assertEqual(self.newest_changes(source)["ssh_host_key"], cleared)
                self.assert_error(self.confirm(source), 409, "CONFLICT")
                version = source.revisions.all()[1].version
                path = f"{self.path_of(source)}/history/{version}/restore"
                self.assertEqual(self.call("post", path, user=self.admin).status_code, 200)
                self.assertIsNone(self.show(source)["ssh_host_key"])

    def test_changes_that_keep_the_ssh_server_keep_the_confirmed_host_key(self):
        source = self.make_confirmed_source()
        key = self.ssh_server.host_keys["ed25519"]
        for change in (
            {"ssh_host": ADDRESS, "ssh_port": self.ssh_server.port},
            {"name": "Other", "description": "Other"},
            {"host": "localhost"},
            {"port": 1},
            {"ssh_username": "other"},
            {"ssh_local_port": 9_000},
            {"use_ssh_tunnel": False},
            {"use_ssh_tunnel": True},
        ):
            with self.subTest(change):
                self.assertEqual(self.patch(source, change, self.admin)["ssh_host_key"], key)

    def test_tunnel_test_ignores_an_ssh_local_port_that_is_in_use(self):
        source = self.make_confirmed_source(ssh_local_port=free_port())
        self.assert_connects(source)
        with socket.create_server((ADDRESS, source.ssh_local_port)):
            result = self.run_test(self.path_of(source))
        self.assertEqual(result["code"], "OK")
        self.assert_connects(source)

    def test_verified_update_goes_through_the_tunnel(self):
        source = self.make_confirmed_source()
        path = f"{self.path_of(source)}?verify=true"
        response = self.call("patch", path, {"query_timeout": 9}, self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        data = response.json()["data"]
        self.assertEqual((data["last_test"]["code"], data["query_timeout"]), ("OK", 9))
        response = self.call("patch", path, {"ssh_host": "localhost"}, self.admin)
        self.assertEqual(response.status_code, 422, response.content)
        details = response.json()["error"]["details"]
        self.assertEqual(details["code"], ["SSH_HOST_KEY_UNCONFIRMED"])
        self.assertEqual(self.show(source), data)


class FileTests(DataSourceTestMixin, TransactionTestCase):
    """Tests of file sources: jobs run in this process, in real sandboxes."""

    def setUp(self):
        self.make_world()
        folder = Path(self.enterContext(TemporaryDirectory()))
        write_files(folder / str(self.acme.pk) / "in")
        self.enterContext(override_settings(STORAGE_ROOT=folder, STORAGE_URL=None))

    def run_file_test(self, type_name, file_path):
        body = {
            "workspace_id": self.workspace.pk,
            "name": f"{type_name} {file_path}",
            "type": type_name,
            "file_path": file_path,
        }
        created = self.call("post", "/data-sources", body, self.editor)
        self.assertEqual(created.status_code, 201, created.content)
        path = f"/data-sources/{created.json()['data']['id']}"
        requested = self.call("post", f"{path}/test", user=self.editor)
        self.assertEqual(requested.status_code, 202, requested.content)
        run_jobs()
        location = requested["Location"].removeprefix("/api/v1")
        result = self.call("get", location, user=self.viewer).json()["data"]
        shown = self.call("get", path, user=self.viewer).json()["data"]
        self.assertEqual(shown["last_test"], result)
        return result

    def test_file_of_each_type_connects(self):
        versions = {
            "csv": "CSV, 2 columns",
            "duckdb": r"DuckDB \d",
            "json": "JSON, 2 columns",
            "parquet": "Parquet, 2 columns",
            "sqlite": r"SQLite 3\.",
        }
        for type_name, version in versions.items():
            with self.subTest(type=type_name):
                result = self.run_file_test(type_name, f"in/{type_name}")
                self.assertEqual(result["code"], "OK", result)
                self.assertRegex(result["server_version"], version)
                stages = [(stage["stage"], stage["ok"]) for stage in result["stages"]]
                self.assertEqual(stages, [("login", True), ("query", True)])

    def test_files_of_other_organizations_are_missing(self):
        other = self.globex.pk
        write_files(Path(settings.STORAGE_ROOT) / str(other))
        for file_path in ("csv", f"{other}/csv"):
            with self.subTest(file_path):
                self.assertEqual(self.run_file_test("csv", file_path)["code"], "FILE_MISSING")

    def test_missing_and_mistyped_files_have_their_codes(self):
        for type_name, file_path, code in (
            ("csv", "in/none", "FILE_MISSING"),
            ("csv", "in", "FILE_MISSING"),
            ("parquet", "in/csv", "FILE_OTHER_TYPE"),
            ("sqlite", "in/csv", "FILE_OTHER_TYPE"),
        ):
            with self.subTest(type=type_name, file_path=file_path):
                self.assertEqual(self.run_file_test(type_name, file_path)["code"], code)
