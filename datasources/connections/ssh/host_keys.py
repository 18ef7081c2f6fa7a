"""How the host keys of SSH servers are written: in OpenSSH's one-line form, without a comment."""

import base64
import hashlib
import re

MAX_LENGTH = 4096  # of an RSA key: 24,000 bits
ONE_LINE = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")


def is_host_key(text: object) -> bool:
    """Whether this is a key in one-line form, and no longer than one has to be."""
    return isinstance(text, str) and len(text) <= MAX_LENGTH and bool(ONE_LINE.fullmatch(text))


def fingerprint(key: str) -> str:
    """Give the fingerprint of a key in one-line form, as `ssh-keygen -l` shows it: `SHA256:…`."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
