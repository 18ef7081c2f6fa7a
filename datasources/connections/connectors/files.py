"""Files in the storage: SQLite files are read by the SQLite library, all others by DuckDB.

Only the file itself is read. The write-ahead log beside a SQLite or DuckDB file is ignored, so
store such files checkpointed.
"""

import os
import sqlite3
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar, Self
from urllib.parse import quote

from django.conf import settings

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import Connector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.formats import (
    COMPRESSIONS,
    SIGNATURE_BYTES,
    Format,
    guess_format,
)
from datasources.connections.files.storage import (
    FILE_URL,
    LocalFile,
    StoredFile,
    open_file,
    store_ports,
)

DUCKDB_THREADS = 2
DUCKDB_MEMORY = "512MB"
# SQLite cannot read objects of a store by ranges, so they are loaded into memory, up to this size.
SQLITE_OBJECT_MAX_BYTES = 256 * 1024 * 1024
SQLITE_STEPS_BETWEEN_CHECKS = 10_000
SQLITE_HEADER_BYTES = 100
DUCKDB_HEADERS = (4096, 8192)  # where they begin; the one that was written last counts
DUCKDB_FIRST_BLOCK = 12_288
DUCKDB_FLAGS = 20  # where they stand in the file
SQLITE_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
    # Virtual tables, such as those of R-trees and full-text search, declare their columns with
    # CREATE TABLE, and prepare the statements that would change them. `query_only` and the mode of
    # the file prevent changes.
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
}
SQLITE_PRAGMAS = {
    *("data_version", "database_list", "encoding", "foreign_key_list", "index_info"),
    *("index_list", "index_xinfo", "module_list", "page_size", "read_uncommitted"),
    *("schema_version", "table_info", "table_list", "table_xinfo", "user_version"),
}
SQLITE_FORBIDDEN_FUNCTIONS = {"fts3_tokenizer", "load_extension"}


class FileConnector(Connector):
    """A type whose sources are files in the storage."""

    driver = "duckdb"
    required_fields = ("file_path",)
    reads_storage = True
    is_verified = True
    statement_codes: ClassVar[dict[Any, Code]] = {
        sqlite3.SQLITE_INTERRUPT: Code.QUERY_TIMEOUT,
        "InterruptException": Code.QUERY_TIMEOUT,
        "OutOfMemoryException": Code.FILE_TOO_LARGE,
    }
    format: ClassVar[Format | None] = None
    """The format of the first bytes of a file of this type; None for CSV, which has none."""

    @classmethod
    def further_ports(cls, configuration: Configuration) -> Collection[int]:
        """Return the ports of the object store; none for the folder of this machine."""
        return store_ports() if settings.STORAGE_URL else ()

    def log_in(self) -> Any:
        """Open the file."""
        if not self.configuration.file_path:
            raise ConnectionFailure(Code.FIELDS_MISSING, fields=["file_path"])
        file = open_file(self.configuration.file_path, self.configuration.connection_timeout)
        # An empty file is a failed upload; drivers would take it for an empty table or database.
        if not file.size:
            raise ConnectionFailure(Code.FILE_EMPTY)
        self._file = file
        try:
            return self.open(file)
        except Exception as error:
            raise self.failure_of(error) from None

    def open(self, file: StoredFile) -> Any:
        """Return a connection that can read this file and nothing else."""
        raise NotImplementedError

    def numbers_of(self, error: BaseException) -> list[object]:
        """Return the number of SQLite, or the name of DuckDB's error, which has no number."""
        return [getattr(error, "sqlite_errorcode", type(error).__name__)]

    def query_version(self, connection: Any) -> str:
        """Run a trivial query. Return the version. Raises ConnectionFailure."""
        try:
            with self.stages("query"):
                return self.read_version(connection)
        except Exception as error:
            raise self.failure_of(error) from None

    def failure_of(self, error: Exception) -> ConnectionFailure:
        """Return the reason why the file, which exists, cannot be read as this type."""
        if isinstance(error, ConnectionFailure):
            return error
        if code := self.explain_statement(error):
            return ConnectionFailure(code)
        try:
            self.check_format(self._file)
        except ConnectionFailure as failure:
            return failure
        except Exception:  # the store, again
            pass
        return ConnectionFailure(Code.QUERY_FAILED)

    def check_format(self, file: StoredFile) -> None:
        """Raise ConnectionFailure if the file shows why it cannot be read as this type."""
        found = guess_format(file.read_at(0, SIGNATURE_BYTES))
        if found != self.format:
            code = Code.FILE_COMPRESSION if found in COMPRESSIONS else Code.FILE_OTHER_TYPE
            raise ConnectionFailure(code, found=found.value)

    def explain(self, error: Exception) -> Code:
        """Return QUERY_FAILED; `failure_of` knows better."""
        return Code.QUERY_FAILED


class SQLite(FileConnector):
    """A SQLite file."""

    name = "sqlite"
    label = "SQLite file"
    driver = "sqlite3"
    format = Format.SQLITE
    dialect = "sqlite"

    def open(self, file: StoredFile) -> "LimitedConnection":
        """Return a read-only connection: no lock, no journal, no other file."""
        connection = _open_sqlite(file) if isinstance(file, LocalFile) else _fetch_sqlite(file)
        self.check_format(file)  # what skips malformed definitions ignores a missing end, too
        # A name that is not UTF-8 must not make the others unreadable.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.execute("PRAGMA query_only = ON")
        # Sort in memory: the sandbox may write no temporary file.
        connection.execute("PRAGMA temp_store = MEMORY")
        # By default, SQLite 3.40 refuses definitions that call functions of JSON. `_authorize`
        # denies those with side effects.
        connection.execute("PRAGMA trusted_schema = ON")
        _skip_malformed_definitions(connection)
        connection.limit_statements(self.configuration.query_timeout)
        connection.set_authorizer(_authorize)
        return connection

    def check_format(self, file: StoredFile) -> None:
        """Raise ConnectionFailure if the file is no SQLite file, or shorter than it says."""
        super().check_format(file)
        header = file.read_at(0, SQLITE_HEADER_BYTES)
        page_bytes, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
        if header[24:28] != header[92:96]:  # SQLite before 3.7.0 has not kept the number of pages
            pages = 0
        stated = (65_536 if page_bytes == 1 else page_bytes) * pages
        if file.size < max(stated, SQLITE_HEADER_BYTES):
            raise ConnectionFailure(Code.FILE_TRUNCATED)

    def read_version(self, connection: sqlite3.Connection) -> str:
        """Check that the schema can be read. Return the version of the SQLite library."""
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        return one_line(f"SQLite {sqlite3.sqlite_version}")


class LimitedConnection(sqlite3.Connection):
    """A connection whose statements time out."""

    _seconds = float("inf")
    _deadline = float("inf")

    def limit_statements(self, seconds: float) -> None:
        """Set the timeout of each statement."""
        self._seconds = seconds
        self.set_progress_handler(
            lambda: time.monotonic() > self._deadline, SQLITE_STEPS_BETWEEN_CHECKS
        )

    def start_clock(self) -> None:
        """Start the timeout of a statement."""
        self._deadline = time.monotonic() + self._seconds

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return a cursor that starts the timeout with each statement."""
        return super().cursor(LimitedCursor)

    # The inherited methods would create plain cursors, without a timeout.

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement with each set of parameters."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        """Run a script; the timeout applies to it as a whole."""
        return self.cursor().executescript(*args)


class LimitedCursor(sqlite3.Cursor):
    """A cursor that starts the timeout of its connection with each statement."""

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
        """Run a script; the timeout applies to it as a whole."""
        self.connection.start_clock()
        return super().executescript(*args)


def _skip_malformed_definitions(connection: sqlite3.Connection) -> None:
    """Make SQLite read the other definitions of a schema that has malformed ones.

    Raises DatabaseError if the file is no database.
    """
    # Python cannot decode a message with a name that is not UTF-8.
    errors = (sqlite3.DatabaseError, UnicodeDecodeError)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except errors:
        # Nothing becomes writable: the file is read-only or a copy, and `query_only` is on.
        connection.execute("PRAGMA writable_schema = ON")
        # The statement that loads the schema fails even so; later ones use what was loaded.
        with suppress(*errors):
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()


def _open_sqlite(file: LocalFile) -> LimitedConnection:
    """Open a file by name, as SQLite requires, and check that it is the file that was checked.

    Raises ConnectionFailure if the name now leads to another file.
    """
    before = _times_open(file.identity)
    url = f"file:{quote(os.fsencode(file.path))}?mode=ro&immutable=1"
    connection = sqlite3.connect(url, uri=True, check_same_thread=False, factory=LimitedConnection)
    if _times_open(file.identity) > before:
        return connection
    connection.close()
    raise ConnectionFailure(Code.FILE_MISSING)


def _times_open(identity: tuple[int, int]) -> int:
    """Return how many descriptors of this process refer to a file, given by device and inode."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself is closed
            status = os.fstat(int(descriptor))
            count += (status.st_dev, status.st_ino) == identity
    return count


def _fetch_sqlite(file: StoredFile) -> LimitedConnection:
    """Load a file into memory, not onto a disk. Raises ConnectionFailure if it is too large."""
    if file.size > SQLITE_OBJECT_MAX_BYTES:
        raise ConnectionFailure(Code.FILE_TOO_LARGE)
    data = bytearray(file.read_at(0, file.size))
    # Switch from WAL to rollback journal: SQLite does not open a WAL database in memory.
    if data[18:20] == b"\x02\x02":
        data[18:20] = b"\x01\x01"
    connection = sqlite3.connect(":memory:", check_same_thread=False, factory=LimitedConnection)
    connection.deserialize(data)
    return connection


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Return SQLITE_OK for an action that only reads, SQLITE_DENY for any other.

    Denies ATTACH and VACUUM INTO, which open or write other files, and `PRAGMA query_only`, which
    would make this file writable.
    """
    if action == sqlite3.SQLITE_PRAGMA:
        is_allowed = first in SQLITE_PRAGMAS
    elif action == sqlite3.SQLITE_FUNCTION:
        is_allowed = second not in SQLITE_FORBIDDEN_FUNCTIONS
    else:
        is_allowed = action in SQLITE_ACTIONS
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


class DuckDBConnector(FileConnector):
    """A type of files that DuckDB reads."""

    def open(self, file: StoredFile) -> Any:
        """Start a DuckDB that can read this file only."""
        return self.start(file, None)

    def prepare(self, connection: Any) -> None:
        """Open the file `FILE_URL` in a DuckDB that was started for it."""
        raise NotImplementedError

    def start(self, file: StoredFile, open_file: Callable[[], Any] | None) -> Any:
        """Start a DuckDB, open the file, and lock the configuration; see `OneFile`."""
        import duckdb

        from datasources.connections.files.file_system import OneFile

        connection = duckdb.connect(":memory:")
        try:
            connection.register_filesystem(OneFile(file, open_file))
            for setting, value in self._settings(FILE_URL).items():
                connection.execute(f"SET GLOBAL {setting} = {value}")  # not only for this cursor
            self.prepare(connection)
            connection.execute("SET GLOBAL lock_configuration = true")
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings(self, url: str) -> dict[str, str]:
        """Return the settings in an order that DuckDB accepts."""
        return {
            "threads": str(DUCKDB_THREADS),
            "async_threads": str(DUCKDB_THREADS),
            "memory_limit": f"'{DUCKDB_MEMORY}'",
            "temp_directory": "''",
            "max_execution_time": str(self.configuration.query_timeout * 1000),  # milliseconds
            "http_proxy": "''",  # hides http_proxy of the environment, which may contain a password
            "python_enable_replacements": "false",
            "allow_persistent_secrets": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # DuckDB looks for the log before it opens a file.
            "allowed_paths": f"['{url}', '{url}.wal']",
            "enable_external_access": "false",
            "disabled_filesystems": "'LocalFileSystem'",
        }


class DuckDB(DuckDBConnector):
    """A DuckDB file, attached as the database `data`.

    `data` is the current database of the connection, but not of its cursors: there, write
    `data.people`.
    """

    name = "duckdb"
    label = "DuckDB file"
    format = Format.DUCKDB

    def prepare(self, connection: Any) -> None:
        """Attach the file."""
        connection.execute(f"ATTACH '{FILE_URL}' AS data (READ_ONLY)")
        connection.execute("USE data")

    def check_format(self, file: StoredFile) -> None:
        """Raise ConnectionFailure if the file is no DuckDB file, encrypted or cut off."""
        super().check_format(file)
        if file.read_at(DUCKDB_FLAGS, 1) == b"\1":
            raise ConnectionFailure(Code.FILE_ENCRYPTED)
        if file.size >= DUCKDB_FIRST_BLOCK:
            # Checksum, iteration, two blocks, count and size of blocks.
            headers = [struct.unpack("<6Q", file.read_at(start, 48)) for start in DUCKDB_HEADERS]
            _, _, _, _, count, block_bytes = max(headers, key=itemgetter(1))
            if file.size >= DUCKDB_FIRST_BLOCK + count * block_bytes:
                return
        raise ConnectionFailure(Code.FILE_TRUNCATED)

    def read_version(self, connection: Any) -> str:
        """Check that tables can be listed. Return the version of the DuckDB library."""
        connection.execute("SELECT table_name FROM duckdb_tables() LIMIT 1").fetchall()
        version = connection.execute("SELECT version()").fetchone()[0]
        return one_line(f"DuckDB {version.removeprefix('v')}")
