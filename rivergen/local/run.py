"""`make run`: the whole service on one machine, with a demo organization, until Ctrl-C."""

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from rivergen.encryption_keys import generate_key
from rivergen.local.private_files import read_or_make_secret

BASE_DIR = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1"
POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
START_TIMEOUT_SECONDS = 60


def main() -> int:
    """Migrate, serve, print a call to try, and wait; the exit status is the server's."""
    for variable, make in (("SECRET_KEY", make_secret_key), ("ENCRYPTION_KEYS", generate_key)):
        if not os.environ.get(variable):
            path = BASE_DIR / ".local" / variable.lower()
            os.environ[variable] = read_or_make_secret(path, make)
    os.environ["BIND_ADDRESS"] = ADDRESS
    # What one tries out at home is on this machine; elsewhere it is denied (docs/configuration.md).
    os.environ.setdefault("EGRESS_ALLOW", "127.0.0.0/8,::1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")
    django.setup()
    from django.conf import settings

    refuse_taken_port(settings.PORT)
    call_command("migrate", verbosity=0)
    with serve(settings.PORT) as web, work() as worker:
        try:
            call_command("demo", staff=settings.IS_DATABASE_EMBEDDED)
        except CommandError as error:  # the service is of use without it
            print(f"No demo: {error}")
        print("\nCtrl-C stops everything.", flush=True)
        return wait_for_first(web, worker)


def make_secret_key() -> str:
    """Make a key that signs access tokens."""
    return secrets.token_urlsafe(50)


@contextmanager
def serve(port: int, log: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the web server, give it once it answers, and stop it when the block ends."""
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning"]
    command += ["-c", "python:rivergen.gunicorn", "rivergen.wsgi"]
    # In a session of its own Ctrl-C does not reach it: of two signals at once, one from the
    # terminal and one from below, its workers now and then hang for half a minute.
    web = subprocess.Popen(command, cwd=BASE_DIR, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(web, port)
        yield web
    finally:
        web.terminate()
        web.wait()


@contextmanager
def work(log: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a worker, and stop it when the block ends."""
    command = [sys.executable, "manage.py", "worker"]
    worker = subprocess.Popen(command, cwd=BASE_DIR, stdout=log, stderr=log, start_new_session=True)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()


def wait_for_first(web: "subprocess.Popen[bytes]", worker: "subprocess.Popen[bytes]") -> int:
    """Return once one of them has ended, which none does by itself; give an exit status."""
    pidfds = [os.pidfd_open(process.pid) for process in (web, worker)]
    select.select(pidfds, [], [])
    name, ended = ("server", web) if web.poll() is not None else ("worker", worker)
    print(f"The {name} has ended by itself, with status {ended.wait()}.", flush=True)
    return 1


def interrupt(signum: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


def refuse_taken_port(port: int) -> None:
    """Raise ImproperlyConfigured if something else listens on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            raise ImproperlyConfigured(
                f"Port {port} is taken. Choose another one: PORT={port + 1} make run"
            ) from None


def wait_until_ready(web: "subprocess.Popen[bytes]", port: int) -> None:
    """Return once the server answers requests; exit if it ends before, or does not in a minute."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while web.poll() is None:
        connection = HTTPConnection(ADDRESS, port, timeout=REQUEST_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status != HTTPStatus.SERVICE_UNAVAILABLE:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        if time.monotonic() > deadline:
            sys.exit(f"The server did not get ready within {START_TIMEOUT_SECONDS} seconds.")
        time.sleep(POLL_SECONDS)
    sys.exit(web.returncode)


def obey_signals() -> None:
    """Treat SIGTERM, and a terminal that is closed, like Ctrl-C; `nohup` still protects."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, interrupt)


if __name__ == "__main__":
    obey_signals()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
    except ImproperlyConfigured as error:
        sys.exit(f"Not configured: {error}")
