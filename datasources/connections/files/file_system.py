"""One stored file as a file system, the only one that DuckDB sees.

DuckDB's own list of allowed paths lets SQL write to them as well; here nothing can be written.
"""

import threading
from datetime import datetime
from typing import Any

from fsspec import AbstractFileSystem

from datasources.connections.files.storage import StoredFile

PROTOCOL = "stored"
FILE_URL = f"{PROTOCOL}://file"


class Reader:
    """A position in the file, which DuckDB's threads share.

    Either each of them seeks before it reads, while others do as well; or they take turns to read
    on from where the last one ended, once one of them has gone back to the start for all.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._position = 0
        self._turns = 0  # how often a thread has read on
        self._sought = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to a position from the start."""
        assert whence == 0
        self._position = position
        self._sought.move = (position, self._turns)
        return position

    def read(self, count: int) -> bytes:
        """Read from where this thread has moved to, unless others have read on since; else on."""
        position, turns = vars(self._sought).pop("move", (0, None))
        if turns != self._turns:
            position = self._position
            self._turns += 1
        data = self._file.read_at(position, count)
        self._position = position + len(data)
        return data

    def close(self) -> None:
        """Close nothing: other readers may be at the same file."""


class OneFile(AbstractFileSystem):
    """A file system with one file, `FILE_URL`, to read; it has no other, and writes none."""

    protocol = PROTOCOL
    cachable = False  # fsspec would keep the instance, and its file, for the next of the kind

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file = file

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Describe the file. Raises FileNotFoundError for any other."""
        if path != FILE_URL:
            raise FileNotFoundError(path)
        return {"name": path, "size": self._file.size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Say when the file changed last."""
        return self._file.modified_at

    def glob(self, path: str, **options: Any) -> list[str]:
        """Find the file by its full name only."""
        return [path] if path == FILE_URL else []

    def open(self, path: str, mode: str = "rb", **options: Any) -> Reader:
        """Open the file for reading. Raises PermissionError for anything else."""
        if path != FILE_URL or mode != "rb":
            raise PermissionError(mode)
        return Reader(self._file)
