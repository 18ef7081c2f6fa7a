"""`make run`: the whole service on one machine, with a demo organization."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError
from django.db.migrations.exceptions import InconsistentMigrationHistory

from rivergen.hidden_environment import hand_over, hide_environment, is_secret_set
from rivergen.local.end_with_parent import end_with_parent
from rivergen.local.keys import use_local_keys

BASE_DIR = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1"
POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
START_TIMEOUT_SECONDS = 60
ADDRESSES = """
API:   {site}/api/v1
Docs:  {site}/api/docs
Admin: {site}/admin/

Ctrl-C stops everything."""


def main() -> int:
    """Migrate, start the service, print a request to try, and wait; return the exit status."""
    say_what_starts()
    use_local_keys(BASE_DIR / ".local")
    os.environ["BIND_ADDRESS"] = ADDRESS
    # Data sources to try out are usually on this machine. The default denies them.
    os.environ.setdefault("EGRESS_ALLOW", "127.0.0.0/8,::1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")
    django.setup()
    from django.conf import settings

    refuse_taken_port(settings.PORT)
    migrate(settings.IS_DATABASE_EMBEDDED)
    with serve(settings.PORT) as web, work() as worker:
        try:
            call_command("demo", staff=settings.IS_DATABASE_EMBEDDED)
        except CommandError as error:  # the service can be used without the demo
            print(f"No demo: {error}")
        print(ADDRESSES.format(site=f"http://{ADDRESS}:{settings.PORT}"), flush=True)
        return wait_for_first(web, worker)


def say_what_starts() -> None:
    """Print what this command starts, and about how long that takes."""
    if is_secret_set("DATABASE_URL") or (BASE_DIR / ".postgres").exists():
        print("Starting the web server and a worker: about 5 seconds.", flush=True)
    else:
        print(
            "First start: creating a PostgreSQL database in .postgres/, keys in .local/ and a "
            "demo, then starting the web server and a worker: about 15 seconds.",
            flush=True,
        )


def migrate(is_database_embedded: bool) -> None:
    """Migrate the database.

    Raises ImproperlyConfigured if another version of rivergen made the embedded database.
    """
    if not is_database_embedded:
        call_command("migrate", verbosity=0)
        return
    # Imported here: it imports models, so Django must be set up.
    from rivergen.local.older_database import difference_from_models

    try:
        call_command("migrate", verbosity=0)
        difference = difference_from_models()
    except (ProgrammingError, IntegrityError, InconsistentMigrationHistory) as error:
        difference = str(error).partition("\n")[0]
    if difference is not None:
        folder = BASE_DIR / ".postgres"
        raise ImproperlyConfigured(
            f"Another version of rivergen made the database in {folder} ({difference}). "
            f"Remove it and its data, and start again: rm -r {folder}"
        )


@contextmanager
def serve(port: int, log: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the web server, yield it once it answers, and stop it when the block ends."""
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning"]
    command += ["-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"]
    web = start(command, log)
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
    worker = start(command, log)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()


def start(command: list[str], log: int | None) -> "subprocess.Popen[bytes]":
    """Start a process that ends with this one, even if this one is killed.

    It gets its own session, so that the terminal's Ctrl-C does not reach it: gunicorn's workers
    sometimes hang for half a minute if they get that signal together with ours.
    """
    environment, variables = hand_over()
    try:
        return subprocess.Popen(
            command,
            cwd=BASE_DIR,
            env=environment,
            pass_fds=[variables],
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
    finally:
        os.close(variables)


def wait_for_first(web: "subprocess.Popen[bytes]", worker: "subprocess.Popen[bytes]") -> int:
    """Wait until one of the processes has ended, print which, and return an exit status."""
    pidfds = [os.pidfd_open(process.pid) for process in (web, worker)]
    select.select(pidfds, [], [])
    name, ended = ("server", web) if web.poll() is not None else ("worker", worker)
    print(f"The {name} has ended unexpectedly, with status {ended.wait()}.", flush=True)
    return 1


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


def refuse_taken_port(port: int) -> None:
    """Raise ImproperlyConfigured if another program listens on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            raise ImproperlyConfigured(
                f"Port {port} is in use. Choose another one: PORT={port + 1} make run"
            ) from None


def wait_until_ready(web: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the server answers; exit if it ends first, or takes longer than a minute."""
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
            sys.exit(f"The server was not ready within {START_TIMEOUT_SECONDS} seconds.")
        time.sleep(POLL_SECONDS)
    sys.exit(web.returncode)


def obey_signals() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, unless they are ignored, as under `nohup`."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, interrupt)


if __name__ == "__main__":
    hide_environment()
    obey_signals()
    if "--end-with-parent" in sys.argv[1:]:  # the parent is make, which may be killed
        end_with_parent(os.getppid())
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
    except ImproperlyConfigured as error:
        sys.exit(f"Not configured: {error}")
