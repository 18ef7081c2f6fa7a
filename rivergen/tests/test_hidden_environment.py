"""The secrets of the service are in no environment, command line or readable memory of a process.

Without some capabilities, root may read only what any user may read of its own processes. So the
processes of these tests, and the one that tries to read them, run without these.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import psutil
from django.conf import settings
from django.db import connection
from django.test import SimpleTestCase, TransactionTestCase

from rivergen.encryption_keys import generate_key
from rivergen.local.run import wait_until_ready
from rivergen.testing.run import killed_after
from rivergen.testing.services import free_port, url_of

DROPPED = "-perfmon,-sys_admin,-sys_ptrace"
CONFINED = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}"]
COMMAND = [*(CONFINED if os.geteuid() == 0 else []), sys.executable]
GUNICORN = ("-m", "gunicorn", "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi")
WORKER = ("manage.py", "worker")
READ = """
import sys
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            file.read(0 if path.endswith("mem") else 1)
        print(path)
    except PermissionError:
        pass
"""


class SecretTestCase(TransactionTestCase):
    """A test case that starts the real processes with secrets, and looks for these in /proc."""

    def setUp(self) -> None:
        database = url_of(str(connection.settings_dict["NAME"]))
        self.secrets = {
            "SECRET_KEY": token_urlsafe(50),
            "SECRET_KEY_FALLBACKS": token_urlsafe(50),
            "ENCRYPTION_KEYS": generate_key(),
            "METRICS_TOKEN": token_urlsafe(30),
            "DATABASE_URL": f"{database}&application_name={token_urlsafe(30)}",
        }

    def files(self) -> dict[str, str]:
        """Return the variables that name a file for each secret."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        variables = {}
        for name, text in self.secrets.items():
            path = folder / name.lower()
            path.touch(mode=0o600)
            path.write_text(f"{text}\n")
            variables[f"{name}_FILE"] = str(path)
        return variables

    @contextmanager
    def web(self, **variables: str) -> Iterator[list[psutil.Process]]:
        """Run the web server until the block ends; yield its processes."""
        self.port = free_port()
        process = self.start(*GUNICORN, PORT=str(self.port), **variables)
        try:
            wait_until_ready(process, self.port)
            yield family(process)
        finally:
            process.terminate()
            self.assertEqual(process.wait(), 0)

    @contextmanager
    def worker(self, **variables: str) -> Iterator[list[psutil.Process]]:
        """Run a worker until the block ends; yield its processes, with those of the sandbox."""
        process = self.start(*WORKER, stderr=subprocess.PIPE, **variables)
        assert process.stderr is not None
        try:
            self.assertIn(b"Ready", process.stderr.readline())
            yield family(process)
        finally:
            process.terminate()
            self.assertEqual(process.wait(), 0)
            process.stderr.close()

    def start(
        self, *arguments: str, stderr: Any = subprocess.DEVNULL, **variables: str
    ) -> "subprocess.Popen[bytes]":
        # The shell that runs the tests may have set some of these, too.
        inherited = {name: os.environ[name] for name in os.environ if name not in self.secrets}
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=settings.BASE_DIR,
            env=inherited | variables,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )

    def assert_nothing_shown(self, processes: list[psutil.Process], *others: str) -> None:
        self.assertGreater(len(processes), 1)
        for process in processes:
            for name in ("environ", "cmdline"):
                shown = Path(f"/proc/{process.pid}/{name}").read_bytes()
                for text in (*self.secrets.values(), *others):
                    self.assertNotIn(text.encode(), shown)

    def metrics_status(self) -> int:
        client = HTTPConnection("127.0.0.1", self.port, timeout=30)
        token = self.secrets["METRICS_TOKEN"]
        client.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        status = client.getresponse().status
        client.close()
        return status


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def wait_for_workers(web: "subprocess.Popen[bytes]") -> None:
    """Read the log of gunicorn until it has started its two workers."""
    assert web.stderr is not None
    lines = (line for line in web.stderr if b"Booting worker" in line)
    assert len([*itertools.islice(lines, 2)]) == 2


class HiddenEnvironmentTests(SecretTestCase):
    def test_web_given_secrets_as_variables_shows_none(self) -> None:
        others = {"SHOP_PASSWORD": token_urlsafe(), "AWS_SECRET_ACCESS_KEY": token_urlsafe()}
        with self.web(**self.secrets, **others) as processes:
            self.assert_nothing_shown(processes, *others.values())
            self.assertEqual(self.metrics_status(), 200)

    def test_web_given_secrets_as_files_shows_none(self) -> None:
        with self.web(**self.files()) as processes:
            self.assert_nothing_shown(processes)
            self.assertEqual(self.metrics_status(), 200)

    def test_worker_given_secrets_as_variables_shows_none(self) -> None:
        others = {"SHOP_PASSWORD": token_urlsafe(), "AWS_SECRET_ACCESS_KEY": token_urlsafe()}
        with self.worker(**self.secrets, **others) as processes:
            self.assert_nothing_shown(processes, *others.values())

    def test_worker_given_secrets_as_files_shows_none(self) -> None:
        with self.worker(**self.files()) as processes:
            self.assert_nothing_shown(processes)

    def test_main_process_that_replaces_another_gets_the_secrets_and_shows_none(self) -> None:
        # gunicorn started with `-m` cannot replace itself.
        script = str(Path(sys.executable).parent / "gunicorn")
        port = str(free_port())
        process = self.start(
            script, *GUNICORN[2:], PORT=port, stderr=subprocess.PIPE, **self.secrets
        )
        assert process.stderr is not None
        with killed_after(60, process):
            wait_for_workers(process)
            process.send_signal(signal.SIGUSR2)
            wait_for_workers(process)
            _, *children = family(process)
            [new] = [child for child in children if child.children()]
            self.assert_nothing_shown([new, *new.children()])
            for one in (new, psutil.Process(process.pid)):
                one.terminate()
                one.wait()
        process.stderr.close()

    def test_processes_of_the_same_user_cannot_read_web_and_worker(self) -> None:
        plain = subprocess.Popen(
            [*COMMAND, "-c", "print(flush=True); import signal; signal.pause()"],
            stdout=subprocess.PIPE,
        )
        assert plain.stdout is not None
        plain.stdout.readline()
        with self.web(**self.secrets) as web, self.worker(**self.secrets) as worker:
            names = ("environ", "mem", "maps", "fd/0")
            hidden = [f"/proc/{one.pid}/{name}" for one in (*web, worker[0]) for name in names]
            control = f"/proc/{plain.pid}/environ"
            self.assertEqual(self.readable(control, *hidden), [control])
        plain.kill()
        plain.communicate()

    def readable(self, *paths: str) -> list[str]:
        """Return those of the files that a process of the same user can read."""
        command = [*COMMAND, "-c", READ, *paths]
        return subprocess.run(command, capture_output=True, text=True).stdout.split()

    def test_web_worker_and_sandbox_write_no_core_dumps(self) -> None:
        with self.web(**self.secrets) as web, self.worker(**self.secrets) as worker:
            for process in (*web, *worker):
                limits = Path(f"/proc/{process.pid}/limits").read_text()
                self.assertRegex(limits, r"Max core file size +0 +0 ")


class CommandTests(SimpleTestCase):
    def manage(self, code: str, prefix: Any = (), **variables: str) -> str:
        """Run code in the shell of `manage.py`, and return what it prints."""
        shell = [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command"]
        done = subprocess.run(
            [*prefix, *shell, code],
            cwd=settings.BASE_DIR,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            errors="surrogateescape",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_commands_keep_all_variables_but_the_secrets(self) -> None:
        code = "import os; print(os.environ['SHOP'], {'SECRET_KEY', 'MARK'} & {*os.environ})"
        code = code.replace("MARK", "RIVERGEN_VARIABLES_FD")
        printed = self.manage(code, SHOP="ä\udcff", SECRET_KEY=token_urlsafe(50))
        self.assertEqual(printed, "ä\udcff set()")

    def test_programs_started_by_a_command_do_not_inherit_secrets(self) -> None:
        key = token_urlsafe(50)
        code = "import subprocess; print(subprocess.check_output(['env']).decode())"
        printed = self.manage(code, SHOP="shop", SECRET_KEY=key)
        self.assertIn("SHOP=shop", printed)
        self.assertNotIn(key, printed)

    def test_large_environments_are_passed_on(self) -> None:
        large = {f"LARGE_{number}": "x" * 100_000 for number in range(5)}
        code = "import os; print(sum(map(len, os.environ.values())) > 500_000)"
        self.assertEqual(self.manage(code, **large), "True")

    def test_command_without_standard_input_gets_its_variables(self) -> None:
        closed = ("sh", "-c", 'exec "$@" <&-', "sh")
        printed = self.manage("import os; print(os.environ['SHOP'])", closed, SHOP="shop")
        self.assertEqual(printed, "shop")

    def test_command_keeps_its_process_id_and_exit_status(self) -> None:
        with subprocess.Popen(
            [
                sys.executable,
                "manage.py",
                "shell",
                "--command",
                "import os; os._exit(os.getpid() % 256)",
            ],
            cwd=settings.BASE_DIR,
        ) as process:
            self.assertEqual(process.wait(), process.pid % 256)
