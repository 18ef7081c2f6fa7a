"""Seal secrets: AES-256-GCM with a ring of keys, each ciphertext bound to a context."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

KEY_ID_LENGTH = 16
# NIST SP 800-38D, section 8.2.2: random nonces are safe for 2**32 messages per key.
NONCE_BYTES = 12


class UnreadableError(ValueError):
    """The secret cannot be opened: its key is missing, or the ciphertext or its context changed."""


class PlainText(str):
    """A secret in clear, whose `repr` hides it from tracebacks and dumps of variables.

    `str()` and formatting return the secret: drivers need it.
    """

    def __repr__(self) -> str:
        return "<secret>"


@dataclass(frozen=True)
class Sealed:
    """A ciphertext as stored (nonce, encrypted text, tag), and the id of its key."""

    key_id: str
    ciphertext: bytes


class KeyRing:
    """A ring of keys of 32 bytes: the first key seals, all keys open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.current_id = key_id(keys[0])

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ciphers

    def seal(self, text: str, context: bytes) -> Sealed:
        """Encrypt `text` with the first key; it opens in the same context only."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._ciphers[self.current_id]
        return Sealed(self.current_id, nonce + cipher.encrypt(nonce, text.encode(), context))

    def open(self, sealed: Sealed, context: bytes) -> PlainText:
        """Decrypt a text that was sealed in this context. Raises UnreadableError."""
        nonce, encrypted = sealed.ciphertext[:NONCE_BYTES], sealed.ciphertext[NONCE_BYTES:]
        try:
            text = self._ciphers[sealed.key_id].decrypt(nonce, encrypted, context)
        except (InvalidTag, KeyError, ValueError):  # ValueError: too short for a nonce
            raise UnreadableError(UnreadableError.__doc__) from None
        return PlainText(text.decode())


def key_id(key: bytes) -> str:
    """Return the public id of a key: 16 hexadecimal digits that reveal nothing about the key."""
    return hashlib.sha256(b"rivergen key id\0" + key).hexdigest()[:KEY_ID_LENGTH]


def key_ring() -> KeyRing:
    """Return the ring of the keys in the setting `ENCRYPTION_KEYS`."""
    return _key_ring(tuple(settings.ENCRYPTION_KEYS))


@lru_cache(maxsize=1)
def _key_ring(keys: tuple[bytes, ...]) -> KeyRing:
    return KeyRing(keys)
