"""References to secrets: a file of declarations says where a secret is, never the secret."""

import os
import re
from pathlib import Path

from django.conf import settings

from rivergen.hidden_environment import SECRETS, secret_file

REFERENCE = re.compile(r"\$\{(?P<kind>env|file):(?P<name>[^${}\0]+)\}")
HOW = "Must be a reference: ${env:NAME}, or ${file:path} below SECRETS_ROOT."
HOW_REMOTE = "Must be a reference: ${file:path} in the organization's folder of SECRETS_ROOT."
# The service's own secrets must not be sent to a data source.
OWN_VARIABLES = (
    *SECRETS,
    "PGPASSWORD",  # libpq uses it for URLs without a password
)
OWN_PREFIX = "AWS_"
FILE_BYTES_MAX = 65_536
FILE_NAME_MAX_LENGTH = 1_000


def resolve(text: str) -> str:
    """Return the secret behind an operator's reference, to a variable or a file.

    Raises ValueError, with a message for the operator.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(HOW)
    return read_variable(match["name"]) if match["kind"] == "env" else read_file(match["name"])


def resolve_for(organization_id: int, text: str) -> str:
    """Return the secret behind a client's reference, to a file of its organization.

    Raises ValueError, with a message for the client.
    """
    match = REFERENCE.fullmatch(text)
    if match is None or match["kind"] == "env":
        raise ValueError(HOW_REMOTE)
    return read_file(match["name"], str(organization_id))


def read_variable(name: str) -> str:
    """Return an environment variable. Raises ValueError if it is unset, or the service's own."""
    if name in OWN_VARIABLES or name.startswith(OWN_PREFIX):
        raise ValueError(f"{name} is one of this service's own variables.")
    if not os.environ.get(name):
        raise ValueError(f"The variable {name} is not set.")
    return os.environ[name]


def own_files() -> set[Path]:
    """Return the files of the service's own secrets, which may be below SECRETS_ROOT, too."""
    return {path.resolve() for path in map(secret_file, SECRETS) if path}


def read_file(name: str, folder: str = "") -> str:
    """Return the text of a file below SECRETS_ROOT, without its last line break.

    Raises ValueError if it is outside, too large or unreadable.
    """
    if settings.SECRETS_ROOT is None:
        raise ValueError("SECRETS_ROOT is not set, so there are no files.")
    if len(name) > FILE_NAME_MAX_LENGTH:  # each part is looked up, with all parts before it
        most = f"{FILE_NAME_MAX_LENGTH:,}"
        raise ValueError(f"{name[:64]}… cannot be read: a path has at most {most} characters.")
    root = Path(settings.SECRETS_ROOT, folder).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"{name} is not below SECRETS_ROOT.")
    if path in own_files():
        raise ValueError(f"{name} is one of this service's own secrets.")
    try:
        if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"{name} is not a file of at most {FILE_BYTES_MAX:,} bytes.")
        # Not read_text, which turns each "\r\n" within a secret into "\n".
        return path.read_bytes().decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{name} cannot be read.") from None
