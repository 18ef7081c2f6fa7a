"""Secrets of one machine, such as those of `make run`: made once, kept in files of their own."""

import os
import secrets
from pathlib import Path


def read_or_make_secret(path: Path, length: int) -> str:
    """Give the secret in a private file; the first call makes it, from `length` random bytes.

    The file appears whole or not at all: a process killed meanwhile leaves no empty secret.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(length))
        draft.replace(path)
    return path.read_text().strip()
