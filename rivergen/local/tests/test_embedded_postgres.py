"""The embedded PostgreSQL server: shared by processes, and stopped by the last one."""

import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg
from django.conf import settings
from django.test import SimpleTestCase

USE = """
import sys
from pathlib import Path
from rivergen.local import embedded_postgres
url = embedded_postgres.start(Path(sys.argv[1]))
assert embedded_postgres.start(Path(sys.argv[1])) == url
print(url, flush=True)
sys.stdin.read()
"""


class EmbeddedPostgresTests(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rivergen-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.users: list[subprocess.Popen[str]] = []
        self.addCleanup(lambda: [self.end(user) for user in self.users])

    def use(self) -> str:
        """Start a process that uses the server; return the URL that it prints."""
        user = subprocess.Popen(
            [sys.executable, "-c", USE, self.folder],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.users.append(user)
        assert user.stdout is not None
        return user.stdout.readline().strip()

    def end(self, user: "subprocess.Popen[str]") -> int:
        user.communicate()
        return user.returncode

    def is_running(self) -> bool:
        pid_file = self.folder / "data" / "postmaster.pid"
        return pid_file.exists() and psutil.pid_exists(int(pid_file.read_text().split()[0]))

    def test_embedded_server_is_shared_and_stopped_by_the_last_process(self):
        url = self.use()
        self.assertEqual(self.use(), url)
        first, second = self.users
        self.assertEqual(self.end(first), 0)
        with psycopg.connect(url) as connection:
            self.assertEqual(connection.execute("SELECT lower('Ä')").fetchone(), ("ä",))
        self.assertEqual(self.end(second), 0)
        self.assertFalse(self.is_running())

    def test_embedded_server_of_a_killed_process_is_stopped_by_a_later_one(self):
        url = self.use()
        (killed,) = self.users
        killed.send_signal(signal.SIGKILL)
        self.end(killed)
        self.assertTrue(self.is_running())
        self.assertEqual(self.use(), url)
        self.assertEqual(self.end(self.users[1]), 0)
        self.assertFalse(self.is_running())

    def test_embedded_server_listens_on_no_port(self):
        self.use()
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        self.assertEqual(psutil.Process(pid).net_connections("inet"), [])

    def refusal_of(self, data_version: str) -> str:
        """Return the error of a start on a folder that has nothing but a version in it."""
        (self.folder / "data").mkdir()
        (self.folder / "data" / "PG_VERSION").write_text(f"{data_version}\n")
        code = USE.replace("import sys\n", "import sys\nsys.tracebacklimit = 0\n", 1)
        failed = subprocess.run(
            [sys.executable, "-c", code, self.folder],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("ImproperlyConfigured: The embedded PostgreSQL in", failed.stderr)
        self.assertIn("DATABASE_URL", failed.stderr)
        return failed.stderr

    def test_failed_start_of_the_database_is_reported_with_the_next_step(self):
        error = self.refusal_of(version("embedded-postgres").partition(".")[0])
        self.assertIn("did not start", error)
        self.assertNotIn("atexit", error)

    def test_data_of_another_postgresql_version_is_reported_with_the_next_step(self):
        error = self.refusal_of("9.6")
        self.assertIn("was made by version 9.6", error)
        self.assertIn(f"rm -r {self.folder}", error)
