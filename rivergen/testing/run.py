"""Start `make run` in a fresh copy of the project, for tests that need the whole service."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import IO, Any

import psutil
from django.conf import settings

from rivergen.testing.gunicorn import ask
from rivergen.testing.services import free_port

START_TIMEOUT_SECONDS = 120
# Variables that a machine may have set for other purposes, with values that would do harm.
HOSTILE_ENVIRONMENT = {
    "BIND_ADDRESS": "127.0.0.2",
    "SECRET_KEY": "",
    "ENCRYPTION_KEYS": "",
    "http_proxy": "http://127.0.0.1:1",
}


class Run:
    """One `make run`, and requests to it."""

    def __init__(self, folder: Path, *command: str, stderr: int = subprocess.DEVNULL) -> None:
        self.port = free_port()
        unset = ("DATABASE_URL", "PYTEST_VERSION", "SECRET_KEY", "STORAGE_ROOT")
        environment = {name: text for name, text in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "rivergen.local.run"],
            cwd=folder,
            env=environment | HOSTILE_ENVIRONMENT | {"PORT": str(self.port)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            # Processes started by `nohup ... &` inherit an ignored SIGINT; restore it for Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @property
    def output_pipe(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def read_output(self) -> None:
        """Read the output until the service is ready; kill a start that hangs."""
        lines: list[str] = []
        with killed_after(START_TIMEOUT_SECONDS, self.process):
            for line in self.output_pipe:
                if line.startswith("Ctrl-C"):
                    break
                lines.append(line)
        self.output = "".join(lines)
        self.token = self.output.partition("Bearer ")[2].partition('"')[0]
        self.password = self.output.partition("password: ")[2].splitlines()[0]

    def children(self) -> list[psutil.Process]:
        """Return the processes it started, except the database, which leaves the process tree."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        """Send what Ctrl-C sends, SIGINT to the process group; return the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        with killed_after(START_TIMEOUT_SECONDS, self.process):
            return self.process.wait()

    def request(self, method: str = "GET", body: Any = None, **options: Any) -> HTTPResponse:
        """Send a request to data source 1 with the printed token."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, "/api/v1/data-sources/1", body, headers, **options)
        return connection.getresponse()

    def wait_for_worker(self) -> None:
        """Wait until the worker runs jobs: it starts at the same time as the web server."""
        with killed_after(START_TIMEOUT_SECONDS, self.process):
            while "rivergen_workers 1" not in ask(self.port, "/metrics"):
                pass


@contextmanager
def killed_after(seconds: float, process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Kill the process if the block takes longer, so that a test fails instead of hanging."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def fresh_copy() -> Iterator[Path]:
    """Yield a folder with a copy of the project, as if it was cloned; remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="rivergen-") as name:
        not_cloned = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
        shutil.copytree(settings.BASE_DIR, name, ignore=not_cloned, dirs_exist_ok=True)
        yield Path(name)


@contextmanager
def running(folder: Path, *command: str) -> Iterator[Run]:
    """Run the project in this folder, by this command, until the block ends."""
    run = Run(folder, *command)
    try:
        run.read_output()
        assert run.process.poll() is None, run.output
        yield run
    finally:
        if run.process.poll() is None:
            run.stop()
        run.output_pipe.close()
