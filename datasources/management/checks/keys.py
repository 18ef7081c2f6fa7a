"""Checks of the keys that encrypt secrets, and of the files with the service's own secrets."""

import stat
from pathlib import Path

from datasources.credentials.cipher import key_ring
from datasources.credentials.models import Credential
from datasources.management.checks import Finding, State
from rivergen.hidden_environment import SECRETS, secret_file


def check_keys() -> Finding:
    """Check that every stored secret can be opened."""
    others = Credential.objects.of_other_keys().count_by_key()
    lost = {key_id: count for key_id, count in others.items() if key_id not in key_ring()}
    if lost:
        names = ", ".join(lost)
        fix = (
            f"Secrets sealed by {names}, not in ENCRYPTION_KEYS: {sum(lost.values())}. "
            "Add the key, or enter the secrets again."
        )
        return Finding("keys", State.FAILED, fix)
    old = sum(others.values())
    rest = f" Sealed by an older key: {old}; run rotate_encryption_key." if old else ""
    current = key_ring().current_id
    return Finding("keys", State.OK, f"Current: {current}. All secrets can be opened.{rest}")


def check_secret_files() -> Finding:
    """Check that only this user and its group can read the files with the service's secrets."""
    paths = [path for path in map(secret_file, SECRETS) if path]
    readable = [str(path) for path in paths if is_readable_by_others(path)]
    if readable:
        fix = f"Others can read {', '.join(readable)}. Run: chmod o= {' '.join(readable)}"
        return Finding("secrets", State.FAILED, fix)
    text = f"Private files: {len(paths)}." if paths else "They are variables, not files."
    return Finding("secrets", State.OK, text)


def is_readable_by_others(path: Path) -> bool:
    """Return whether any user can read a file: it and all folders above allow that.

    Containers have no other users, and their runtimes decide on the mode of files in /run/secrets.
    """
    path = path.resolve()
    if path.is_relative_to("/run/secrets"):
        return False
    folders = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
    return folders and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
