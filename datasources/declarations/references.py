"""Secrets in a file of declarations: never there, only where they are."""

import os
import re
from pathlib import Path

from django.conf import settings

REFERENCE = re.compile(r"\$\{(?P<kind>env|file):(?P<name>[^${}\0]+)\}")
HOW = "Say where it is: ${env:NAME}, or ${file:path} below SECRETS_ROOT."
HOW_REMOTE = "Say where it is: ${file:path} below the organization's folder in SECRETS_ROOT."
# They are the service's own, and not for whoever a data source leads to.
OWN_VARIABLES = (
    "DATABASE_REPLICA_URL",
    "DATABASE_URL",
    "ENCRYPTION_KEYS",
    "METRICS_TOKEN",
    "PGPASSWORD",  # which libpq takes where those URLs have none
    "SECRET_KEY",
)
OWN_PREFIX = "AWS_"
FILE_BYTES_MAX = 65_536


def resolve(text: str) -> str:
    """Give the secret that a reference of an operator leads to.

    Raises ValueError that says what is wrong.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(HOW)
    return read_variable(match["name"]) if match["kind"] == "env" else read_file(match["name"])


def resolve_for(organization_id: int, text: str) -> str:
    """Give the secret that a reference of a client leads to: a file of its own organization.

    Raises ValueError that says what is wrong.
    """
    match = REFERENCE.fullmatch(text)
    if match is None or match["kind"] == "env":
        raise ValueError(HOW_REMOTE)
    return read_file(match["name"], str(organization_id))


def read_variable(name: str) -> str:
    """Give a variable of the environment. Raises ValueError if it is not set, or our own."""
    if name in OWN_VARIABLES or name.startswith(OWN_PREFIX):
        raise ValueError(f"{name} is this service's own.")
    if not os.environ.get(name):
        raise ValueError(f"The variable {name} is not set.")
    return os.environ[name]


def read_file(name: str, folder: str = "") -> str:
    """Give the text of a file, without a line break at its end. Raises ValueError."""
    if settings.SECRETS_ROOT is None:
        raise ValueError("SECRETS_ROOT is not set, below which files would be.")
    root = Path(settings.SECRETS_ROOT, folder).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"{name} is not below SECRETS_ROOT.")
    try:
        if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"{name} is no file of {FILE_BYTES_MAX:,} bytes or less.")
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{name} cannot be read.") from None
