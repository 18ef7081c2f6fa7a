"""Files in the storage, each read by itself: SQLite by its own library, the rest through DuckDB.

A file is read as it lies there: a SQLite or DuckDB file without what a write-ahead log beside it
holds, so store it checkpointed.
"""

import os
import sqlite3
import time
from contextlib import suppress
from typing import Any, ClassVar, Self
from urllib.parse import quote

from datasources.connections.connectors.base import Connector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.storage import LocalFile, StoredFile, open_file

DUCKDB_THREADS = 2
DUCKDB_MEMORY = "512MB"
CSV_BUFFER_BYTES = 4 * 1024 * 1024  # what is read at once: a first look must not take 32 MB
# A SQLite file of a store cannot be read by ranges: it is fetched into memory, if it is not larger.
SQLITE_OBJECT_MAX_BYTES = 256 * 1024 * 1024
SQLITE_STEPS_BETWEEN_CHECKS = 10_000
SQLITE_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
    # Virtual tables, such as those of full-text search, declare their columns by these.
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
}
SQLITE_PRAGMAS = {
    *("data_version", "database_list", "encoding", "foreign_key_list", "index_info"),
    *("index_list", "index_xinfo", "read_uncommitted", "schema_version", "table_info"),
    *("table_list", "table_xinfo", "user_version"),
}
SQLITE_FORBIDDEN_FUNCTIONS = {"fts3_tokenizer", "load_extension"}


class FileConnector(Connector):
    """A type whose sources are files."""

    driver = "duckdb"
    required_fields = ("file_path",)
    is_verified = True

    def log_in(self) -> Any:
        """Open the file; there is nobody to log in to."""
        if not self.configuration.file_path:
            raise ConnectionFailure(Code.FIELDS_MISSING)
        file = open_file(self.configuration.file_path, self.configuration.connection_timeout)
        # CSV, JSON and SQLite take it for an empty table, or database; it is a failed upload.
        if not file.size:
            raise ConnectionFailure(Code.QUERY_FAILED)
        return self.open(file)

    def open(self, file: StoredFile) -> Any:
        """Give a connection that reads this file, and can do nothing else."""
        raise NotImplementedError

    def explain(self, error: Exception) -> Code:
        """The file is there, and cannot be read as what it should be."""
        return Code.QUERY_FAILED


class SQLite(FileConnector):
    """A SQLite file."""

    name = "sqlite"
    label = "SQLite file"
    driver = "sqlite3"
    dialect = "sqlite"

    def open(self, file: StoredFile) -> "LimitedConnection":
        """Open the file read-only: no lock, no journal, no file beside it."""
        connection = _open_sqlite(file) if isinstance(file, LocalFile) else _fetch_sqlite(file)
        connection.execute("PRAGMA query_only = ON")
        # A stored schema may call functions that do something.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.limit_statements(self.configuration.query_timeout)
        connection.set_authorizer(_authorize)
        return connection

    def read_version(self, connection: sqlite3.Connection) -> str:
        """Read the schema; the version is the library's."""
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        return one_line(f"SQLite {sqlite3.sqlite_version}")


class LimitedConnection(sqlite3.Connection):
    """A connection whose statements end after some seconds, counted from their start."""

    _seconds = float("inf")
    _deadline = float("inf")

    def limit_statements(self, seconds: float) -> None:
        """Limit each statement from now on."""
        self._seconds = seconds
        self.set_progress_handler(
            lambda: time.monotonic() > self._deadline, SQLITE_STEPS_BETWEEN_CHECKS
        )

    def start_clock(self) -> None:
        """Count from now."""
        self._deadline = time.monotonic() + self._seconds

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Give a cursor that starts the clock."""
        return super().cursor(LimitedCursor)

    # The inherited ones would make a cursor of their own, without a clock.

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement with each set of parameters."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        """Run statements, all within the limit of one."""
        return self.cursor().executescript(*args)


class LimitedCursor(sqlite3.Cursor):
    """A cursor that starts its connection's clock."""

    connection: LimitedConnection

    def execute(self, *args: Any) -> Self:
        """Run a statement."""
        self.connection.start_clock()
        return super().execute(*args)

    def executemany(self, *args: Any) -> Self:
        """Run a statement with each set of parameters."""
        self.connection.start_clock()
        return super().executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        """Run statements, all within the limit of one."""
        self.connection.start_clock()
        return super().executescript(*args)


def _open_sqlite(file: LocalFile) -> LimitedConnection:
    """Open a file by its name, which is all that SQLite takes, and see that it is the same file.

    Raises ConnectionFailure if the name leads to another one by now.
    """
    before = _times_open(file.identity)
    url = f"file:{quote(os.fsencode(file.path))}?mode=ro&immutable=1"
    connection = sqlite3.connect(url, uri=True, check_same_thread=False, factory=LimitedConnection)
    if _times_open(file.identity) > before:
        return connection
    connection.close()
    raise ConnectionFailure(Code.FILE_MISSING)


def _times_open(identity: tuple[int, int]) -> int:
    """Count this process's descriptors of a file, given by its device and inode."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed by now
            status = os.fstat(int(descriptor))
            count += (status.st_dev, status.st_ino) == identity
    return count


def _fetch_sqlite(file: StoredFile) -> LimitedConnection:
    """Copy a file into memory: nothing of it stays on a disk. Raises ValueError if it is large."""
    if file.size > SQLITE_OBJECT_MAX_BYTES:
        raise ValueError("The file is too large to be fetched.")
    data = bytearray(file.read_at(0, file.size))
    # Where the log is: none is beside a file in memory, which SQLite would refuse to open.
    if data[18:20] == b"\x02\x02":
        data[18:20] = b"\x01\x01"
    connection = sqlite3.connect(":memory:", check_same_thread=False, factory=LimitedConnection)
    connection.deserialize(data)
    return connection


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Let statements read, and not open or write a file, as ATTACH and VACUUM INTO do.

    Nor switch `query_only` off, which keeps them from writing to this one.
    """
    if action == sqlite3.SQLITE_PRAGMA:
        is_allowed = first in SQLITE_PRAGMAS
    elif action == sqlite3.SQLITE_FUNCTION:
        is_allowed = second not in SQLITE_FORBIDDEN_FUNCTIONS
    else:
        is_allowed = action in SQLITE_ACTIONS
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


class DuckDBConnector(FileConnector):
    """A type that DuckDB reads."""

    opening: ClassVar[tuple[str, ...]]
    """The statements that make the file's content visible; `{url}` is where it is."""

    def open(self, file: StoredFile) -> Any:
        """Start a DuckDB that sees this file and no other, and cannot be told otherwise."""
        import duckdb

        from datasources.connections.files.file_system import FILE_URL, OneFile

        connection = duckdb.connect(":memory:")
        try:
            connection.register_filesystem(OneFile(file))
            for setting, value in self._settings(FILE_URL).items():
                connection.execute(f"SET GLOBAL {setting} = {value}")  # else cursors go without
            for statement in self.opening:
                connection.execute(statement.format(url=FILE_URL))
            connection.execute("SET GLOBAL lock_configuration = true")
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings(self, url: str) -> dict[str, str]:
        """Name the settings, in the order in which DuckDB takes them; the lock comes last."""
        return {
            "threads": str(DUCKDB_THREADS),
            "async_threads": str(DUCKDB_THREADS),
            "memory_limit": f"'{DUCKDB_MEMORY}'",
            "temp_directory": "''",
            "max_execution_time": str(self.configuration.query_timeout * 1000),  # milliseconds
            "http_proxy": "''",  # else SQL can show the environment's, password included
            "python_enable_replacements": "false",
            "allow_persistent_secrets": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # A DuckDB file is opened only after a look for its log; there is none.
            "allowed_paths": f"['{url}', '{url}.wal']",
            "enable_external_access": "false",
            "disabled_filesystems": "'LocalFileSystem'",
        }


class DuckDB(DuckDBConnector):
    """A DuckDB file; its tables are those of the database `data`.

    That is the current one on the connection, not on its cursors: these say `data.people`.
    """

    name = "duckdb"
    label = "DuckDB file"
    opening = ("ATTACH '{url}' AS data (READ_ONLY)", "USE data")

    def read_version(self, connection: Any) -> str:
        """Read the tables' names; the version is the library's."""
        connection.execute("SELECT table_name FROM duckdb_tables() LIMIT 1").fetchall()
        version = connection.execute("SELECT version()").fetchone()[0]
        return one_line(f"DuckDB {version.removeprefix('v')}")


class TableConnector(DuckDBConnector):
    """A type whose file is one table; its rows are those of the view `data`."""

    title: ClassVar[str]

    def read_version(self, connection: Any) -> str:
        """Read a row; a file has no version, but it has columns."""
        result = connection.execute("SELECT * FROM data LIMIT 1")
        count = len(result.description)
        result.fetchall()
        return one_line(f"{self.title}, {count} {'column' if count == 1 else 'columns'}")


class CSV(TableConnector):
    """A CSV file; whether it has a header, and its delimiter, are found out."""

    name = "csv"
    label = "CSV file"
    title = "CSV"
    opening = (f"CREATE VIEW data AS FROM read_csv('{{url}}', buffer_size = {CSV_BUFFER_BYTES})",)


class Parquet(TableConnector):
    """A Parquet file."""

    name = "parquet"
    label = "Parquet file"
    title = "Parquet"
    opening = ("CREATE VIEW data AS FROM read_parquet('{url}')",)


class JSON(TableConnector):
    """A JSON file: an array of objects, or an object a line."""

    name = "json"
    label = "JSON file"
    title = "JSON"
    opening = ("CREATE VIEW data AS FROM read_json('{url}')",)
