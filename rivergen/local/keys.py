"""The keys of `make run`: generated once per checkout and kept in private files.

The settings read them from there (`SECRET_KEY_FILE`), so they are in no environment.
"""

import os
import secrets
from pathlib import Path

from rivergen.encryption_keys import generate_key
from rivergen.hidden_environment import is_secret_set
from rivergen.local.private_files import read_or_make_secret


def make_secret_key() -> str:
    """Return a new key that signs access tokens."""
    return secrets.token_urlsafe(50)


# The function that makes each key, by environment variable.
KEYS = {"SECRET_KEY": make_secret_key, "ENCRYPTION_KEYS": generate_key}


def use_local_keys(folder: Path) -> None:
    """Use the file of each key that is not set, and make missing files. For `make run` only."""
    for variable, make in KEYS.items():
        if not is_secret_set(variable):
            path = folder / variable.lower()
            read_or_make_secret(path, make)
            os.environ[f"{variable}_FILE"] = str(path)


def use_local_keys_if_there(folder: Path) -> None:
    """Use the file of `make run` for each key that is not set, if there is one.

    Only for the database of `make run`: if `DATABASE_URL` is set, no file is read, so that no
    service runs with keys that were left in a checkout.
    """
    if is_secret_set("DATABASE_URL"):
        return
    for variable in KEYS:
        path = folder / variable.lower()
        if not is_secret_set(variable) and path.exists():
            os.environ[f"{variable}_FILE"] = str(path)
