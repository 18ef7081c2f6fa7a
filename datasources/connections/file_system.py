"""One stored file as a file system, the only one that DuckDB sees.

DuckDB's own list of allowed paths lets SQL write to them as well; here nothing can be written.
"""

import threading
from datetime import datetime
from typing import Any

from fsspec import AbstractFileSystem

from datasources.connections.storage import StoredFile

PROTOCOL = "stored"
FILE_URL = f"{PROTOCOL}://file"


class Reader:
    """A position in the file; DuckDB's threads share one, and each seeks before it reads."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._position = 0
        self._sought = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to a position from the start, for this thread's next read."""
        assert whence == 0
        self._position = self._sought.position = position
        return position

    def read(self, count: int) -> bytes:
        """Read on; after a seek of this thread from there, wherever others went since."""
        position = vars(self._sought).pop("position", self._position)
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
