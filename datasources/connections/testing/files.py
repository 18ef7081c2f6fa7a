"""Files of every type, in a temporary storage folder."""

import json
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from django.test import SimpleTestCase, override_settings

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.storage import open_file
from datasources.connections.stages import Stages

ROWS = [(1, "Ada"), (2, "Grace"), (3, "Linus")]


# The content of a file outside the storage, and of a password in the environment.
SECRET = "of-somebody-else"


def write_files(folder: Path) -> None:
    """Write `ROWS` as a file of each type; the name of the file is the name of the type."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "csv").write_text("id,name\n" + "".join(f"{id},{name}\n" for id, name in ROWS))
    (folder / "json").write_text(json.dumps([{"id": id, "name": name} for id, name in ROWS]))
    with duckdb.connect(folder / "duckdb") as connection:
        connection.execute(f"CREATE TABLE people AS FROM read_csv('{folder / 'csv'}')")
        connection.execute(f"COPY people TO '{folder / 'parquet'}' (FORMAT parquet)")
    write_sqlite(folder / "sqlite")


def write_sqlite(path: Path) -> None:
    """Write `ROWS` as a SQLite file in WAL mode, with constraints and a full-text index."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
    connection.execute("CREATE TABLE pets (id INTEGER PRIMARY KEY, owner REFERENCES people)")
    connection.execute("CREATE VIRTUAL TABLE notes USING fts5(line)")
    connection.execute("INSERT INTO notes VALUES ('hello world')")
    connection.executemany("INSERT INTO people VALUES (?, ?)", ROWS)
    connection.commit()
    connection.close()


def table_of(name: str) -> str:
    """Return the name of the table that has `ROWS` in a file of this type."""
    return "people" if name in ("duckdb", "sqlite") else "data"


class FilesTestCase(SimpleTestCase):
    """A test case with an empty storage in `root`, and a file outside it in `outside`."""

    def setUp(self):
        self.outside = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.root = self.outside / "root"
        self.root.mkdir()
        (self.outside / "secret").write_text(f"{SECRET}\n")
        self.enterContext(override_settings(STORAGE_ROOT=self.root, STORAGE_URL=None))

    def connector(self, name, file_path=None, **fields):
        path = name if file_path is None else file_path
        configuration = Configuration(type=name, file_path=path, **fields)
        return CONNECTORS[name](configuration, None, Stages())

    def connect(self, name, file_path=None, **fields):
        connection = self.connector(name, file_path, **fields).connect()
        self.addCleanup(connection.close)
        return connection

    def try_out(self, name, file_path=None):
        """Connect and query the version. Return the code and the version."""
        connector = self.connector(name, file_path)
        try:
            connection = connector.connect()
            self.addCleanup(connection.close)
            return Code.OK, connector.query_version(connection)
        except ConnectionFailure as failure:
            return failure.code, ""

    def read(self, name, content):
        """Read a file with this content: its columns with their types, its rows, its warnings."""
        path = self.root / "file"
        path.unlink(missing_ok=True)  # a file that is still open stays as it is
        path.write_bytes(content)
        connector = self.connector(name, "file")
        connection = connector.connect()
        self.addCleanup(connection.close)
        connector.query_version(connection)
        result = connection.execute("FROM data")
        columns = [(column[0], str(column[1])) for column in result.description]
        return columns, result.fetchall(), [warning.value for warning in connector.warnings_found()]

    def failure(self, name, content):
        """Return the code of the failure to read a file with this content, and its details."""
        with self.assertRaises(ConnectionFailure) as caught:
            self.read(name, content)
        return caught.exception.code.value, caught.exception.details

    def assert_missing(self, path):
        with self.assertRaises(ConnectionFailure) as caught:
            open_file(path, 5)
        self.assertEqual(caught.exception.code, Code.FILE_MISSING)
