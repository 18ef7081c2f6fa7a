"""Host keys of SSH servers, in the one-line form of OpenSSH without a comment."""

import base64
import hashlib
import re

MAX_LENGTH = 4096  # of an RSA key: 24,000 bits
ONE_LINE = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")


def is_host_key(text: object) -> bool:
    """Return whether `text` is a key in one-line form of at most `MAX_LENGTH` characters."""
    return isinstance(text, str) and len(text) <= MAX_LENGTH and bool(ONE_LINE.fullmatch(text))


def fingerprint(key: str) -> str:
    """Return the fingerprint of a key as `ssh-keygen -l` prints it: `SHA256:…`."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
