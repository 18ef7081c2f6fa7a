"""Log in to an SSH server, only if it has the confirmed host key."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence

import asyncssh

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, ConnectionFailure, SSHHostKeyRefused
from datasources.connections.ssh.host_keys import is_host_key
from datasources.connections.ssh.pasted_keys import mend_private_key

# At level INFO, asyncssh logs hosts and users.
asyncssh.set_log_level(logging.WARNING)

KEEPALIVE_SECONDS = 15

# Key types in the order of OpenSSH's client: both then get the same of several keys of a server.
# Certificates and SHA-1 are left out.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class Login(asyncssh.SSHClient):
    """Checks the host key, then answers the server's requests; sends each secret at most once.

    Raises ConnectionFailure if the private key cannot be read.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._confirmed_key = configuration.ssh_host_key
        self._refused_key: str | None = None
        self._has_begun = False
        self._private_key = read_private_key(configuration.secrets)
        self._password = configuration.secrets.get("ssh_password") or None
        self._has_secrets = bool(self._private_key or self._password)

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        presented = " ".join(key.export_public_key().decode().split()[:2])
        if presented == self._confirmed_key:
            return True
        if is_host_key(presented):  # otherwise too long to be stored and confirmed
            self._refused_key = presented
        return False

    def begin_auth(self, username: str) -> None:
        self._has_begun = True

    def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        private_key, self._private_key = self._private_key, None
        return private_key

    def password_auth_requested(self) -> str | None:
        password, self._password = self._password, None
        return password

    def kbdint_auth_requested(self) -> str | None:
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        if not prompts:
            return []
        is_hidden_question = len(prompts) == 1 and not prompts[0][1]
        password = self.password_auth_requested() if is_hidden_question else None
        return None if password is None else [password]

    def explain(self, error: Exception) -> ConnectionFailure:
        """Return the failure that an error during the login stands for."""
        if self._refused_key is not None:
            is_first = self._confirmed_key is None
            code = Code.SSH_HOST_KEY_UNCONFIRMED if is_first else Code.SSH_HOST_KEY_CHANGED
            return SSHHostKeyRefused(code, self._refused_key)
        if isinstance(error, TimeoutError):
            return ConnectionFailure(Code.DEADLINE)
        # After too many attempts, OpenSSH disconnects with "protocol error".
        was_disconnected = isinstance(error, asyncssh.DisconnectError)
        if self._has_begun and was_disconnected and not isinstance(error, asyncssh.ConnectionLost):
            if self._has_secrets:
                return ConnectionFailure(Code.SSH_AUTH_FAILED)
            secrets = ["ssh_password", "ssh_private_key"]  # either will do
            return ConnectionFailure(Code.CREDENTIALS_UNSET, fields=secrets)
        return ConnectionFailure(Code.SSH_FAILED)


def read_private_key(secrets: Mapping[str, str]) -> asyncssh.SSHKey | None:
    """Return the private key, if one is stored. Raises ConnectionFailure if it is unreadable.

    Keys that were stored before they were checked on the way in are mended here.
    """
    text = secrets.get("ssh_private_key")
    if not text:
        return None
    try:
        mended = mend_private_key(text)
        return asyncssh.import_private_key(
            mended, secrets.get("ssh_private_key_passphrase") or None
        )
    except Exception:  # asyncssh lets errors of other libraries through, which may quote the key
        raise ConnectionFailure(Code.SSH_KEY_UNREADABLE) from None


def preferred_algorithms(confirmed_key: str | None) -> list[str]:
    """Return the host key algorithms, those of the confirmed key first.

    The others remain, so that a server that no longer has a key of this kind presents another one.
    """
    if confirmed_key is None:
        return list(HOST_KEY_ALGORITHMS)
    prefix = "rsa-" if confirmed_key.startswith("ssh-rsa ") else confirmed_key.split()[0]
    return sorted(HOST_KEY_ALGORITHMS, key=lambda name: not name.startswith(prefix))


async def log_in(
    configuration: Configuration, username: str, opened: socket.socket, deadline: float
) -> asyncssh.SSHClientConnection:
    """Log in over an open TCP connection. Raises ConnectionFailure.

    `deadline` is a time of the event loop. Uses no configuration, known hosts, keys or agent of the
    user that this process runs as.
    """
    # asyncssh looks up the name of this process's user, which may not exist in a container.
    os.environ.setdefault("LOGNAME", "rivergen")
    login = Login(configuration)
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncssh.run_client(
                opened,
                config=None,
                client_factory=lambda: login,
                username=username,
                # An empty value would mean the known_hosts file of the user. With empty lists,
                # `Login` alone decides.
                known_hosts=([], [], []),
                client_keys=None,
                x509_trusted_certs=None,
                server_host_key_algs=preferred_algorithms(configuration.ssh_host_key),
                preferred_auth=("publickey", "password", "keyboard-interactive"),
                host_based_auth=False,
                gss_host=None,
                agent_path=None,
                agent_forwarding=False,
                x11_forwarding=False,
                login_timeout=0,
                keepalive_interval=KEEPALIVE_SECONDS,
            )
    except Exception as error:
        raise login.explain(error) from None
