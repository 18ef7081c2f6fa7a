"""Private keys for tests, as programs write them."""

import base64
import functools
import json
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from datasources.connections.ssh.pasted_keys import mend_private_key


@functools.cache
def private_key(passphrase: str | None = None, form: str = "openssh") -> str:
    """Return a private key for SSH in a form that asyncssh writes."""
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    return key.export_private_key(form, passphrase, rounds=2).decode()


def private_key_with(core: str) -> str:
    """Return a private key with 32 hexadecimal digits on one of its lines, as Base64 letters."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    for length in range(256):
        key.set_comment(b"x" * length + base64.b64decode(core))
        text = mend_private_key(key.export_private_key().decode())
        if core in text:
            return text
    raise AssertionError("No length of a comment puts the digits on one line.")


@functools.cache
def service_account(**changed: Any) -> str:
    """Return the JSON key file of a service account, as Google writes it."""
    key = generate_private_key(65_537, 2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "shop",
            "private_key": pem.decode(),
            "client_email": "reader@shop.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
            **changed,
        },
        indent=2,
    )
