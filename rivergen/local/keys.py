"""The keys of `make run`: generated once per checkout and kept in private files."""

import os
import secrets
from pathlib import Path

from rivergen.encryption_keys import generate_key
from rivergen.local.private_files import read_or_make_secret


def make_secret_key() -> str:
    """Return a new key that signs access tokens."""
    return secrets.token_urlsafe(50)


# The function that makes each key, by environment variable.
KEYS = {"SECRET_KEY": make_secret_key, "ENCRYPTION_KEYS": generate_key}


def use_local_keys(folder: Path) -> None:
    """Set each key that is not set from its file, and make missing files. For `make run` only."""
    for variable, make in KEYS.items():
        if not os.environ.get(variable):
            os.environ[variable] = read_or_make_secret(folder / variable.lower(), make)


def use_local_keys_if_there(folder: Path) -> None:
    """Set each key that is not set from the file of `make run`, if there is one.

    Only for the database of `make run`: if `DATABASE_URL` is set, no file is read, so that no
    service runs with keys that were left in a checkout.
    """
    if os.environ.get("DATABASE_URL"):
        return
    for variable in KEYS:
        path = folder / variable.lower()
        if not os.environ.get(variable) and path.exists():
            os.environ[variable] = path.read_text().strip()
