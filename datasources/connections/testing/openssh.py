"""A real OpenSSH server, and an account that may log in."""

import getpass
import os
import re
import secrets
import subprocess
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition, Thread

import psutil

from datasources.connections.testing.servers import require_program, skip_or_fail
from rivergen.testing.services import free_port

PATIENCE_SECONDS = 10
END = ""
CONFIGURATION = """
ListenAddress 127.0.0.1
Port {port}
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
LogLevel DEBUG1
StrictModes no
PermitRootLogin yes
UseDNS no
"""


class OpenSSH:
    """An SSH server on a free port of 127.0.0.1, until the block ends.

    `options` are lines of sshd_config, which override the defaults below. `host_keys` maps the
    types of the host keys to their one-line form. The files `key` and `encrypted_key` in `folder`
    are private keys that are valid for every user; the second needs `passphrase`.
    """

    passphrase = "words that open the key"

    def __init__(self, *options, key_types=("ed25519",)):
        self._program = require_program("sshd", "openssh-server")
        self._options = options
        self._key_types = key_types
        self._log = []
        self._logged = Condition()
        self.host_keys = {}

    def __enter__(self):
        self._folder = TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)  # sshd reads authorized_keys as the user who logs in
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.port = free_port()
        self._write_files()
        self.process = subprocess.Popen(
            [self._program, "-D", "-e", "-f", self.folder / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self.wait_for_log("Server listening on")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *raised):
        self.kill_sessions()
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_SECONDS)
        self._folder.cleanup()

    @property
    def log(self):
        """Return the log of sshd so far."""
        with self._logged:
            return "".join(self._log)

    def wait_for_log(self, pattern):
        """Wait until the log matches a pattern. Raises AssertionError if it does not in time."""
        with self._logged:
            self._logged.wait_for(
                lambda: self._log[-1:] == [END] or re.search(pattern, "".join(self._log)),
                PATIENCE_SECONDS,
            )
            if not re.search(pattern, log := "".join(self._log)):
                raise AssertionError(f"sshd did not log {pattern!r}:\n{log}")

    def sessions(self):
        """Return the processes that serve clients."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill_sessions(self):
        """Kill the processes that serve clients, as if the machine had crashed."""
        for session in self.sessions():
            with suppress(psutil.NoSuchProcess):  # the session has ended by itself
                session.kill()

    def read(self, name):
        """Return the text of a file in `folder`."""
        return (self.folder / name).read_text()

    def _write_files(self):
        for key_type in self._key_types:
            public_key = generate_key(self.folder / f"host_{key_type}", key_type)
            self.host_keys[key_type] = " ".join(public_key.split()[:2])
        authorized_keys = [
            generate_key(self.folder / "key"),
            generate_key(self.folder / "encrypted_key", passphrase=self.passphrase),
        ]
        (self.folder / "authorized_keys").write_text("".join(authorized_keys))
        host_keys = [f"HostKey {self.folder}/host_{key_type}" for key_type in self._key_types]
        configuration = CONFIGURATION.format(port=self.port, folder=self.folder)
        (self.folder / "sshd_config").write_text(
            "\n".join([*self._options, *host_keys, configuration])
        )

    def _read_log(self):
        with self.process.stderr as lines:
            for line in chain(lines, [END]):
                with self._logged:
                    self._log.append(line)
                    self._logged.notify_all()


def generate_key(path, key_type="ed25519", passphrase=""):
    """Write a key pair. Return the public key as one line."""
    program = require_program("ssh-keygen", "openssh-client")
    size = ["-b", "2048"] if key_type == "rsa" else []
    subprocess.run([program, "-q", "-t", key_type, *size, "-N", passphrase, "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text()


@contextmanager
def account():
    """Yield the name and password of an account that may log in.

    For root, creates a system user until the block ends. Otherwise it is the user who runs the
    tests, and the password is None.
    """
    if os.geteuid() != 0:
        yield getpass.getuser(), None
        return
    name, password = f"tunnel-{secrets.token_hex(4)}", secrets.token_hex(16)
    run = {"check": True, "text": True, "capture_output": True}
    useradd = require_program("useradd", "passwd")
    subprocess.run([useradd, "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name], **run)
    try:
        subprocess.run([require_program("chpasswd", "passwd")], input=f"{name}:{password}", **run)
        yield name, password
    finally:
        subprocess.run([require_program("userdel", "passwd"), "-f", name], **run)


def require_password(password):
    """Raise SkipTest if there is no password; AssertionError if the variable `CI` is set."""
    if password is None:
        skip_or_fail("passwords are tested by root only")
