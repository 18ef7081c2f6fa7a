"""How the host keys of SSH servers are written: in OpenSSH's one-line form, without a comment."""

import base64
import hashlib


def fingerprint(key: str) -> str:
    """Give the fingerprint of a key in one-line form, as `ssh-keygen -l` shows it: `SHA256:…`."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
