"""The keys of `make run`: made once for a checkout, and kept in private files."""

import os
import secrets
from pathlib import Path

from rivergen.encryption_keys import generate_key
from rivergen.local.private_files import read_or_make_secret


def make_secret_key() -> str:
    """Make a key that signs access tokens."""
    return secrets.token_urlsafe(50)


# What makes the value of each variable that is a key.
KEYS = {"SECRET_KEY": make_secret_key, "ENCRYPTION_KEYS": generate_key}


def use_local_keys(folder: Path) -> None:
    """Set the variables of the keys, unless set, from their files; make the files that are missing.

    For `make run` alone.
    """
    for variable, make in KEYS.items():
        if not os.environ.get(variable):
            os.environ[variable] = read_or_make_secret(folder / variable.lower(), make)


def use_local_keys_if_there(folder: Path) -> None:
    """Set the variables of the keys, unless set, from the files that `make run` has made.

    Only beside the database of `make run`: with `DATABASE_URL` set, nothing is read, so that no
    service ever runs on keys that were left in a checkout.
    """
    if os.environ.get("DATABASE_URL"):
        return
    for variable in KEYS:
        path = folder / variable.lower()
        if not os.environ.get(variable) and path.exists():
            os.environ[variable] = path.read_text().strip()
