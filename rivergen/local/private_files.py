"""Secrets of one machine, such as the keys of `make run`: each is made once, in a private file."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def read_or_make_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a private file; the first call makes it.

    The file is created atomically and only once: processes that start at the same time get the
    same secret, and a killed process leaves no incomplete file.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        with draft.open("w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link does not replace the file of another process.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text().strip()
