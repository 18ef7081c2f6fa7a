"""Servers that only `make real` installs, each tried with a connection test and a refresh."""

import base64
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import boto3
import psycopg
from django.test import override_settings

from datasources.connections.testing.connectors import PASSWORD
from rivergen.testing.services import free_port
from tests.real.downloads import CACHE
from tests.real.reading import read_tables, try_connection

BIN = CACHE / "apps" / "servers" / "bin"
PGLITE = (
    CACHE / "npm" / "@electric-sql+pglite-socket" / "package" / "dist" / "scripts" / "server.js"
)
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1
EVENTS = """
CREATE TABLE default.events (
    id UInt64, at DateTime64(3, 'UTC') DEFAULT now64(), name LowCardinality(Nullable(String)),
    price Decimal(10, 2), INDEX prices price TYPE minmax GRANULARITY 2
) ENGINE = MergeTree ORDER BY (id, at) PRIMARY KEY id COMMENT 'What happened'
"""


class Trial(NamedTuple):
    """What came of trying a server."""

    type_name: str
    server: str
    """The server, with its version as the connection test shows it."""
    problem: str | None


@contextmanager
def running(port: int, *command: str | Path, **variables: str) -> Iterator[None]:
    """Run a server until the block ends; the block begins once it accepts connections."""
    process = subprocess.Popen(
        command,
        env=dict(os.environ) | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not start.") from None
                time.sleep(POLL_SECONDS)
        yield
    finally:
        process.kill()
        process.wait()


def clickhouse() -> Trial:
    """Try chDB: the engine of ClickHouse, behind a login of our own."""
    port = free_port()
    door = Path(__file__).parent / "apps" / "chdb_door.py"
    with running(port, BIN / "python", door, "reader", PASSWORD, str(port)):
        login = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/", EVENTS.encode(), {"Authorization": f"Basic {login}"}
        )
        urllib.request.urlopen(request).close()
        return tried(
            "clickhouse",
            "chDB",
            ("events", ["id", "at", "name", "price"], ["id"], ["prices"]),
            port=port,
            username="reader",
            secrets={"password": PASSWORD},
            database_name="default",
        )


def postgresql() -> Trial:
    """Try PGlite: PostgreSQL as WebAssembly, without a login."""
    port = free_port()
    options = (f"--port={port}", "--host=127.0.0.1", "--max-connections=10", "--db=memory://")
    modules = PGLITE.parents[2] / "node_modules" / "@electric-sql"
    modules.mkdir(parents=True, exist_ok=True)
    if not (modules / "pglite").exists():
        (modules / "pglite").symlink_to(CACHE / "npm" / "@electric-sql+pglite" / "package")
    with running(port, "node", PGLITE, *options):
        with psycopg.connect(
            f"host=127.0.0.1 port={port} user=postgres sslmode=disable"
        ) as connection:
            connection.execute("CREATE TABLE people (id serial PRIMARY KEY, name text UNIQUE)")
        return tried(
            "postgresql",
            "PGlite",
            ("people", ["id", "name"], ["id"], ["people_name_key"]),
            port=port,
            username="postgres",
            secrets={"password": "any"},
            database_name="postgres",
        )


def objects() -> Trial:
    """Try Moto: a program by others that acts as Amazon S3, with a CSV file in a bucket."""
    port = free_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    with (
        running(port, BIN / "moto_server", "-p", str(port)),
        mock.patch.dict("os.environ", variables),
    ):
        store = boto3.client("s3")
        store.create_bucket(Bucket="files")
        store.put_object(Bucket="files", Key="1/people.csv", Body=b"id,name\n1,Ada\n2,Grace\n")
        with override_settings(STORAGE_URL=("files", ""), STORAGE_ROOT=None):
            return tried(
                "csv", "Moto (S3)", ("data", ["id", "name"], [], []), file_path="1/people.csv"
            )


def tried(
    type_name: str,
    server: str,
    expected: tuple[str, list[str], list[str], list[str]],
    **fields: Any,
) -> Trial:
    """Return what came of a connection test, and of reading one table with these names in it."""
    if "port" in fields:
        fields["host"] = "127.0.0.1"
    outcome = try_connection(type_name, **fields)
    label = f"{server}: {outcome['server_version']}"
    if outcome["code"] != "OK":
        return Trial(type_name, label, str(outcome))
    [table] = read_tables(type_name, **fields)
    found = (
        table["name"],
        [column["name"] for column in table["columns"]],
        (table["primary_key"] or {"columns": []})["columns"],
        [index["name"] for index in table["indexes"]],
    )
    return Trial(type_name, label, None if found == expected else f"{found} is not {expected}")


TRIALS: tuple[Callable[[], Trial], ...] = (postgresql, clickhouse, objects)
