"""Logging in to an SSH server: keys, passwords, and what is refused."""

import logging
import os
import re
import subprocess
import time
import traceback
from unittest import mock

from datasources.connections.failures import Code
from datasources.connections.testing.openssh import OpenSSH, generate_key, require_password
from datasources.connections.testing.tunnels import TunnelTestCase


class LoginTests(TunnelTestCase):
    def test_ssh_login_with_a_private_key_succeeds(self):
        self.assert_echoes(self.by_key())

    def test_ssh_login_with_an_encrypted_private_key_succeeds(self):
        secrets = {
            "ssh_private_key": self.server.read("encrypted_key"),
            "ssh_private_key_passphrase": self.server.passphrase,
        }
        self.assert_echoes(self.by_key(secrets=secrets))

    def test_ssh_login_with_a_password_succeeds(self):
        self.assert_echoes(self.by_password())

    def test_ssh_login_tries_the_password_after_the_key(self):
        require_password(self.password)
        key = self.other_key()
        secrets = {"ssh_private_key": key, "ssh_password": self.password}
        self.assert_echoes(self.by_key(secrets=secrets))

    def test_ssh_login_answers_keyboard_interactive_with_the_password(self):
        require_password(self.password)
        with OpenSSH(
            "UsePAM yes", "PasswordAuthentication no", "KbdInteractiveAuthentication yes"
        ) as server:
            self.assert_echoes(self.by_password(server))
            self.assertIn("Accepted keyboard-interactive", server.log)

    def test_ssh_login_sends_key_and_password_if_both_are_required(self):
        require_password(self.password)
        with OpenSSH("AuthenticationMethods publickey,password") as server:
            secrets = {"ssh_private_key": server.read("key"), "ssh_password": self.password}
            self.assert_echoes(self.by_key(server, secrets=secrets))

    def test_wrong_key_username_or_password_is_ssh_auth_failed(self):
        cases = {
            "key": self.by_key(secrets={"ssh_private_key": self.other_key()}),
            "username": self.by_key(ssh_username="nobody-of-this-name"),
        }
        if self.password:
            cases["password"] = self.by_password(password="not the password")
        for name, configuration in cases.items():
            with self.subTest(wrong=name):
                self.assert_fails(configuration, Code.SSH_AUTH_FAILED)

    def test_disconnect_after_a_wrong_key_is_ssh_auth_failed(self):
        with OpenSSH("MaxAuthTries 1") as server:
            secrets = {"ssh_private_key": self.other_key()}
            self.assert_fails(self.by_key(server, secrets=secrets), Code.SSH_AUTH_FAILED)
            server.wait_for_log("Too many authentication failures")

    def test_unreadable_private_key_is_ssh_key_unreadable(self):
        encrypted_key = self.server.read("encrypted_key")
        for secrets in (
            {"ssh_private_key": encrypted_key},
            {"ssh_private_key": encrypted_key, "ssh_private_key_passphrase": "other words"},
            {"ssh_private_key": encrypted_key[:200]},
            {"ssh_private_key": "no key, but in ünicode"},
            {"ssh_private_key": f"-----BEGIN PRIVATE KEY-----\n{'MIIA' * 9_000}"},
        ):
            with self.subTest(secrets=secrets):
                self.assert_fails(self.by_key(secrets=secrets), Code.SSH_KEY_UNREADABLE)

    def test_unreadable_private_key_opens_no_ssh_session(self):
        with OpenSSH("LogLevel DEBUG1") as server:
            secrets = {"ssh_private_key": "no key", "ssh_password": self.password}
            self.assert_fails(self.by_key(server, secrets=secrets), Code.SSH_KEY_UNREADABLE)
            self.assertNotIn("userauth", server.log)

    def test_private_key_stored_before_keys_were_mended_still_works(self):
        key = self.server.read("key")
        for text in (key.replace("\n", "\r"), key.replace("\n", "\\n"), f"\ufeff'{key}'"):
            with self.subTest(text=text[:9]):
                self.assert_echoes(self.by_key(secrets={"ssh_private_key": text}))

    def test_ssh_login_without_ssh_secrets_is_credentials_unset(self):
        for secrets in ({}, {"ssh_private_key": "", "ssh_password": ""}, {"password": "other"}):
            with self.subTest(secrets=secrets):
                self.assert_fails(self.by_key(secrets=secrets), Code.CREDENTIALS_UNSET)

    def test_tunnel_without_host_port_or_username_is_fields_missing(self):
        for name in ("host", "port", "ssh_username"):
            with self.subTest(name=name):
                self.assert_fails(self.by_key(**{name: None}), Code.FIELDS_MISSING)

    def test_ssh_login_ignores_home_folder_and_agent(self):
        with HomeFolder(self.server) as environment, mock.patch.dict(os.environ, environment):
            self.assert_fails(self.by_key(secrets={}), Code.CREDENTIALS_UNSET)
            code = Code.SSH_HOST_KEY_UNCONFIRMED
            self.assert_fails(self.by_key(secrets={}, ssh_host_key=None), code)

    def test_ssh_login_works_for_a_process_without_user_name(self):
        unnamed = {"HOME": str(self.server.folder), "PATH": os.environ["PATH"]}
        with (
            mock.patch.dict(os.environ, unnamed, clear=True),
            mock.patch("pwd.getpwuid", side_effect=KeyError),
        ):
            self.assert_echoes(self.by_key())

    def test_failed_ssh_login_neither_shows_nor_logs_secrets(self):
        with self.assertNoLogs(level=logging.INFO):
            self.assert_echoes(self.by_key())
            secrets = {"ssh_password": "not the password"}
            error = self.assert_fails(self.by_key(secrets=secrets), Code.SSH_AUTH_FAILED)
        shown = "".join(traceback.format_exception(error))
        for private in (*secrets.values(), self.username, str(self.server.port)):
            self.assertNotIn(private, shown.replace("test_login.py", ""))

    def other_key(self):
        """Return a private key that the server does not accept."""
        name = f"other_{time.monotonic_ns()}"
        generate_key(self.server.folder / name)
        return self.server.read(name)


class HomeFolder:
    """A home folder and an agent with a valid key and a known_hosts file of the server."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        home = self._server.folder / "home"
        (home / ".ssh").mkdir(parents=True)
        for name in ("id_ed25519", "id_ed25519.pub"):
            text = self._server.read(name.replace("id_ed25519", "key"))
            (home / ".ssh" / name).write_text(text)
        key = self._server.host_keys["ed25519"]
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{self._server.port} {key}\n")
        started = subprocess.check_output(["ssh-agent", "-s", "-a", home / "agent"], text=True)
        self._agent = int(re.search(r"SSH_AGENT_PID=(\d+)", started)[1])
        environment = {"HOME": str(home), "SSH_AUTH_SOCK": str(home / "agent")}
        subprocess.run(
            ["ssh-add", "-q", self._server.folder / "key"],
            env=os.environ | environment,
            check=True,
        )
        return environment

    def __exit__(self, *raised):
        os.kill(self._agent, 15)
