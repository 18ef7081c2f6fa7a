"""Run the web server as it is deployed, on the database of the tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import IO, Any

from django.conf import settings
from django.db import connection

from rivergen.local.run import wait_until_ready
from rivergen.testing.services import free_port, url_of


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process that shares the database of the tests."""
    database = str(connection.settings_dict["NAME"])
    return os.environ | {"DATABASE_URL": url_of(database), **variables}


@contextmanager
def gunicorn(
    log: IO[Any] | int = subprocess.DEVNULL, **variables: str
) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """Run gunicorn on a free port until the block ends; yield its main process and the port."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:rivergen.server.gunicorn",
            "rivergen.wsgi",
        ],
        cwd=settings.BASE_DIR,
        env=environment(PORT=str(port), **variables),
        stdout=log,
        stderr=log,
    )
    try:
        wait_until_ready(process, port)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def ask(port: int, path: str, **headers: str) -> str:
    """Send a GET over a new connection, which any web process may accept; return the body."""
    client = HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", path, headers=headers)
    text = client.getresponse().read().decode()
    client.close()
    return text
