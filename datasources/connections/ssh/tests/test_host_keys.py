"""Tests that nothing is sent to an SSH server before it presents the confirmed host key."""

import pickle
import subprocess
from base64 import b64encode

import asyncssh

from datasources.connections.failures import Code, SSHHostKeyRefused
from datasources.connections.ssh import login as ssh_login
from datasources.connections.ssh.host_keys import fingerprint
from datasources.connections.testing.openssh import OpenSSH, generate_key
from datasources.connections.testing.tunnels import TunnelTestCase


class HostKeyTests(TunnelTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.versatile_server = cls.enterClassContext(OpenSSH(key_types=("rsa", "ecdsa", "ed25519")))

    def test_ssh_server_with_unconfirmed_key_gets_no_login(self):
        with OpenSSH() as server:
            secrets = {"ssh_private_key": server.read("key"), "ssh_password": "a password"}
            configuration = self.by_key(server, secrets=secrets, ssh_host_key=None)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
            self.assertEqual(error.presented, server.host_keys["ed25519"])
            self.assert_saw_no_login(server)

    def test_ssh_server_with_changed_key_gets_no_login(self):
        with OpenSSH() as server:
            confirmed = self.server.host_keys["ed25519"]
            configuration = self.by_key(server, ssh_host_key=confirmed)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_CHANGED)
            self.assertEqual(error.presented, server.host_keys["ed25519"])
            self.assert_saw_no_login(server)

    def test_ssh_server_with_key_of_another_type_gets_no_login(self):
        with OpenSSH(key_types=("ecdsa",)) as server:
            confirmed = self.server.host_keys["ed25519"]
            configuration = self.by_key(server, ssh_host_key=confirmed)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_CHANGED)
            self.assertEqual(error.presented, server.host_keys["ecdsa"])
            self.assert_saw_no_login(server)

    def test_oversized_host_key_is_refused_and_not_presented(self):
        bits = 49_000
        parts = (b"ssh-rsa", b"\1\0\1", (1 << bits | 1).to_bytes(bits // 8 + 1))
        blob = b"".join(len(part).to_bytes(4) + part for part in parts)
        key = asyncssh.import_public_key(b"ssh-rsa " + b64encode(blob))
        login = ssh_login.Login(self.by_key(ssh_host_key=None))
        self.assertFalse(login.validate_host_public_key("bastion.test", "", 22, key))
        self.assertEqual(login.explain(asyncssh.HostKeyNotVerifiable("")).code, Code.SSH_FAILED)

    def test_ssh_server_with_several_keys_is_asked_for_the_confirmed_one(self):
        for key_type, key in self.versatile_server.host_keys.items():
            with self.subTest(key_type=key_type):
                self.assert_echoes(self.by_key(self.versatile_server, ssh_host_key=key))

    def test_presented_host_key_is_the_one_that_openssh_prefers(self):
        configuration = self.by_key(self.versatile_server, ssh_host_key=None)
        error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
        self.assertEqual(error.presented, self.versatile_server.host_keys["ed25519"])

    def test_host_certificate_is_ignored_in_favour_of_the_key(self):
        host_key = self.server.folder / "host_ed25519"
        authority = self.server.folder / "authority"
        generate_key(authority)
        signing = ["ssh-keygen", "-q", "-h", "-I", "server", "-n", "127.0.0.1", "-s", authority]
        subprocess.run([*signing, f"{host_key}.pub"], check=True)
        with OpenSSH(f"HostKey {host_key}", f"HostCertificate {host_key}-cert.pub") as certified:
            configuration = self.by_key(certified, ssh_host_key=None)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
            self.assertEqual(error.presented.split()[0], "ssh-ed25519")

    def test_fingerprint_equals_that_of_ssh_keygen(self):
        for key_type, key in self.versatile_server.host_keys.items():
            with self.subTest(key_type=key_type):
                path = self.versatile_server.folder / f"host_{key_type}.pub"
                shown = subprocess.check_output(["ssh-keygen", "-l", "-f", path], text=True)
                self.assertEqual(fingerprint(key), shown.split()[1])

    def test_pickled_host_key_failure_keeps_code_and_key(self):
        error = SSHHostKeyRefused(Code.SSH_HOST_KEY_CHANGED, "ssh-ed25519 AAAA")
        copied = pickle.loads(pickle.dumps(error))
        self.assertEqual((copied.code, copied.presented), (error.code, error.presented))

    def assert_saw_no_login(self, server):
        server.wait_for_log(r"(Connection closed|Disconnected|disconnect) .*\[preauth\]")
        for trace in ("userauth-request", "Failed ", "Accepted ", "service ssh-userauth"):
            self.assertNotIn(trace, server.log)
