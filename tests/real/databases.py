"""Real servers and files with the schemas, and both readings of each."""

import gzip
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import psycopg

from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.mariadb import MariaDBServer
from datasources.connections.testing.postgresql import PostgreSQLServer
from tests.real.comparing import Tally
from tests.real.downloads import CACHE
from tests.real.pgmodeler import sql_of
from tests.real.reading import UnreadableError, read_tables
from tests.real.second import duckdb as second_duckdb
from tests.real.second import mariadb as second_mariadb
from tests.real.second import postgresql as second_postgresql
from tests.real.second import sqlite as second_sqlite
from tests.real.sources import APPLICATIONS, INSTALLED, SCRIPTS, SITE_PACKAGES, scripts_of

APPS = Path(__file__).parent / "apps"
LOAD_SECONDS = 600
DATABASE = "others"


class LoadError(Exception):
    """A schema could not be created."""


def load_scripts(command: list[str], patterns: tuple[str, ...], prefix: str = "") -> None:
    """Feed scripts to a client; statements that this server refuses are skipped."""
    paths = scripts_of(patterns)
    if not paths:
        raise LoadError(f"No script is called {patterns[0]}.")
    text = prefix + "\n".join(map(text_of, paths))
    subprocess.run(command, input=text, text=True, capture_output=True, timeout=LOAD_SECONDS)


def text_of(path: Path) -> str:
    """Return the text of a script, which may be compressed, or a model of pgModeler."""
    if path.suffix == ".dbm":
        return sql_of(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode(errors="replace") + "\n"


def load_application(
    environment: str, modules: tuple[str, ...], url: str, django: tuple[str, ...]
) -> None:
    """Create the tables of an application, given as a URL or the arguments of Django's script."""
    program = "sqlalchemy" if environment in ("openstack", "sqlalchemy") else "django"
    python = CACHE / "apps" / environment / "bin/python"
    result = subprocess.run(
        [
            *(
                sys.executable if environment == INSTALLED else python,
                APPS / f"{program}_tables.py",
            ),
            *(django if program == "django" else [url]),
            *modules,
        ],
        capture_output=True,
        text=True,
        timeout=LOAD_SECONDS,
        cwd="/",
    )
    # Some models need what a database does not have; the other tables are there.
    if result.returncode:
        print(f"{modules[-1]}: {result.stderr.strip().splitlines()[-1][:300]}", flush=True)


Load = Callable[[], None]


def wanted(names: list[str], name: str) -> bool:
    """Return whether a source is to be read; `names` are parts of names, empty for all."""
    return not names or any(part.lower() in name.lower() for part in names)


def compare_postgresql(server: PostgreSQLServer, label: str, tally: Tally, only: list[str]) -> None:
    """Create each schema in a database of its own, and compare."""
    uri = psycopg.conninfo.make_conninfo(server.uri, dbname=DATABASE)
    parts = psycopg.conninfo.conninfo_to_dict(uri)
    host, port, user = (str(parts.get(name, "")) for name in ("host", "port", "user"))
    is_socket = host.startswith("/")
    url = f"postgresql+psycopg://{user}@{'' if is_socket else f'{host}:{port}'}/{DATABASE}"
    url += f"?host={quote(host)}&port={port}" if is_socket else ""
    for name, load in loads(
        "postgresql",
        ["psql", "--no-psqlrc", "--quiet", uri],
        url,
        ("postgresql", DATABASE, host, port, user, ""),
    ):
        if not wanted(only, name):
            continue
        create_empty(server)
        try:
            load()
            with psycopg.connect(uri, autocommit=True) as connection:
                second, words = second_postgresql.second_reading(connection)
            tables = read_tables(
                "postgresql",
                host="127.0.0.1",
                port=server.port,
                database_name=DATABASE,
                username=postgresql.USERNAME,
                secrets={"password": postgresql.PASSWORD},
            )
            tally.add(label, name, second_postgresql.our_reading(tables, words), second)
        except (LoadError, UnreadableError) as error:
            tally.fail(label, name, repr(error))


def create_empty(server: PostgreSQLServer) -> None:
    """Create the database anew, with the extensions that some schemas need."""
    server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 OWNER {postgresql.USERNAME}")
    for extension in ("hstore", "pg_trgm", "citext", "pgcrypto", "unaccent"):
        with suppress(psycopg.Error):  # the server may lack it
            server.execute(f"CREATE EXTENSION {extension}", database=DATABASE)


def compare_mariadb(server: MariaDBServer, label: str, tally: Tally, only: list[str]) -> None:
    """Create each schema in a database of its own, and compare."""
    root: dict[str, Any] = {"username": "root", "password": None, "database_name": "mysql"}
    client = ["mariadb", "--no-defaults", "--force", "--protocol=tcp", "--user=root"]
    client += ["--host=127.0.0.1", f"--port={server.port}", "--skip-ssl", DATABASE]
    url = f"mysql+pymysql://root@127.0.0.1:{server.port}/{DATABASE}?charset=utf8mb4"
    django = ("mysql", DATABASE, "127.0.0.1", str(server.port), "root", "")
    for name, load in loads("mariadb", client, url, django, "SET foreign_key_checks = 0;\n"):
        if not wanted(only, name):
            continue
        with closing(mariadb.make_connector(server, **root).connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET foreign_key_checks = 0")
                cursor.execute(f"CREATE OR REPLACE DATABASE {DATABASE} CHARACTER SET utf8mb4")
                cursor.execute(f"GRANT ALL ON {DATABASE}.* TO {mariadb.USERNAME}")
            try:
                load()
                second = second_mariadb.second_reading(connection, DATABASE)
                tables = read_tables(
                    "mariadb",
                    host="127.0.0.1",
                    port=server.port,
                    database_name=DATABASE,
                    username=mariadb.USERNAME,
                    secrets={"password": mariadb.PASSWORD},
                )
                tally.add(label, name, second_mariadb.our_reading(tables), second)
            except (LoadError, UnreadableError) as error:
                tally.fail(label, name, repr(error))


def compare_sqlite_schemas(folder: Path, tally: Tally, only: list[str]) -> None:
    """Create each schema in a file of its own in the storage, and compare."""
    path = folder / "schema.sqlite"
    for name, load in sqlite_loads(path):
        if wanted(only, name):
            path.unlink(missing_ok=True)
            try:
                load()
            except LoadError as error:
                tally.fail("SQLite", name, repr(error))
                continue
            compare_sqlite(path, folder, "SQLite", name, tally)


def compare_sqlite(path: Path, folder: Path, label: str, name: str, tally: Tally) -> None:
    """Compare both readings of a file in the storage."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as file:
            second = second_sqlite.second_reading(file)
        tables = read_tables("sqlite", file_path=str(path.relative_to(folder)))
        tally.add(label, name, second_sqlite.our_reading(tables, second), second)
    except UnreadableError as error:
        tally.fail(label, name, repr(error))


def compare_duckdb(folder: Path, tally: Tally, only: list[str]) -> None:
    """Create what DuckDB understands of the schemas for other databases, and compare."""
    path = folder / "schema.duckdb"
    for database in ("postgresql", "sqlite"):
        for name, patterns in SCRIPTS[database].items():
            if not wanted(only, name):
                continue
            path.unlink(missing_ok=True)
            with duckdb.connect(path) as connection:
                for statement in statements("\n".join(map(text_of, scripts_of(patterns)))):
                    # Only definitions: a script must not install or attach anything.
                    if re.match(r"(\s|--.*\n)*CREATE\s", statement, re.IGNORECASE):
                        with suppress(duckdb.Error):
                            connection.execute(statement)
                second = second_duckdb.second_reading(connection)
            try:
                tables = read_tables("duckdb", file_path=path.name)
                tally.add("DuckDB", name, second_duckdb.our_reading(tables, second), second)
            except UnreadableError as error:
                tally.fail("DuckDB", name, repr(error))


def loads(
    database: str, client: list[str], url: str, django: tuple[str, ...], prefix: str = ""
) -> Iterator[tuple[str, Load]]:
    """Yield the name of each schema, and a function that creates it."""
    for name, patterns in SCRIPTS[database].items():
        yield name, lambda patterns=patterns: load_scripts(client, patterns, prefix)  # type: ignore[misc]
    for environment, applications in APPLICATIONS.items():
        for name, modules in applications.items():
            yield (
                name,
                lambda environment=environment, modules=modules: load_application(  # type: ignore[misc]
                    environment, modules, url, django
                ),
            )


def sqlite_loads(path: Path) -> Iterator[tuple[str, Load]]:
    """Yield the name of each schema, and a function that creates it in a file."""

    def run_script(patterns: tuple[str, ...]) -> None:
        paths = scripts_of(patterns)
        if not paths:
            raise LoadError(f"No script is called {patterns[0]}.")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements("\n".join(map(text_of, paths))):
                try:
                    connection.execute(statement)
                except sqlite3.Error:
                    continue  # as the other clients do

    for name, load in loads("sqlite", [], f"sqlite:///{path}", ("sqlite3", str(path), *[""] * 4)):
        patterns = SCRIPTS["sqlite"].get(name)
        yield name, load if patterns is None else lambda patterns=patterns: run_script(patterns)  # type: ignore[misc]


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script of SQLite."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def name_of(path: Path) -> str:
    """Return the name of a file in the cache, or among the packages of rivergen."""
    return str(path.relative_to(CACHE if path.is_relative_to(CACHE) else SITE_PACKAGES))


def stored(path: Path, folder: Path) -> str:
    """Copy a file to the storage, and return its path there."""
    name = name_of(path)
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
    return name
