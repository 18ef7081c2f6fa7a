"""A read-only file system of one stored file, the only one that DuckDB can use.

DuckDB's setting `allowed_paths` alone would let SQL write to the file, too.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from fsspec import AbstractFileSystem

from datasources.connections.files.storage import FILE_URL, PROTOCOL, StoredFile


class Reader:
    """A file object that several threads of DuckDB share.

    DuckDB uses it in two ways. Either each thread seeks before each read, concurrently with others;
    or one thread seeks to the start, and then the threads take turns to read sequentially.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._position = 0
        self._turns = 0  # how many sequential reads there were
        self._sought = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        """Set the position of the next read of this thread."""
        assert whence == 0
        self._position = position
        self._sought.move = (position, self._turns)
        return position

    def read(self, count: int) -> bytes:
        """Read where this thread has sought, if no sequential read followed; otherwise read on."""
        position, turns = vars(self._sought).pop("move", (0, None))
        if turns != self._turns:
            position = self._position
            self._turns += 1
        data = self._file.read_at(position, count)
        self._position = position + len(data)
        return data

    def close(self) -> None:
        """Do nothing: other readers may use the same file."""


class OneFile(AbstractFileSystem):
    """A file system with the one file `FILE_URL`, for reading only."""

    protocol = PROTOCOL
    cachable = False  # fsspec would reuse the instance, and its file, for another connection

    def __init__(self, file: StoredFile, open_file: Callable[[], Any] | None = None) -> None:
        """Serve a file; `open_file` returns a file object, if `Reader` is not the right one."""
        super().__init__()
        self._file = file
        self._open_file = open_file or partial(Reader, file)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return name, size and type. Raises FileNotFoundError for any other file."""
        if path != FILE_URL:
            raise FileNotFoundError(path)
        return {"name": path, "size": self._file.size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return the time of the last change."""
        return self._file.modified_at

    def glob(self, path: str, **options: Any) -> list[str]:
        """Return the file for its full name; patterns match nothing."""
        return [path] if path == FILE_URL else []

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """Open the file for reading. Raises PermissionError for other files and modes."""
        if path != FILE_URL or mode != "rb":
            raise PermissionError(mode)
        return self._open_file()
