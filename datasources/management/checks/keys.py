"""Checks of the keys that encrypt secrets."""

from datasources.credentials.cipher import key_ring
from datasources.credentials.models import Credential
from datasources.management.checks import Finding, State


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
