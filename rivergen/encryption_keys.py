"""Generate and parse the keys that encrypt the secrets of data sources (`ENCRYPTION_KEYS`)."""

import base64
import os

KEY_BYTES = 32


def generate_key() -> str:
    """Return a new key: 32 random bytes in standard base64 (RFC 4648, section 4)."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def parse_keys(text: str) -> list[bytes]:
    """Return the keys of a comma-separated list.

    Raises ValueError, which names a bad key by its position and never quotes it.
    """
    keys: list[bytes] = []
    for number, item in enumerate(text.split(","), start=1):
        try:
            key = base64.b64decode(item.strip(), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"key {number} is not {KEY_BYTES} bytes in standard base64")
        if key in keys:
            raise ValueError(f"key {number} is the same as key {keys.index(key) + 1}")
        keys.append(key)
    return keys
