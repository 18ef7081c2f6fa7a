"""Secrets of one machine, such as those of `make run`: made once, kept in files of their own."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def read_or_make_secret(path: Path, make: Callable[[], str]) -> str:
    """Give the secret in a private file; the first call makes it.

    The file appears whole or not at all, and once: of processes that start at the same time, all
    get the same secret, and one killed meanwhile leaves no empty one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        with draft.open("w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link does not replace what another process has made.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text().strip()
