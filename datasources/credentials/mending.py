"""Secrets as people paste them: mended if that is unambiguous, else refused with a hint.

No message repeats any part of a secret.
"""

import json
import re
import unicodedata
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.core.exceptions import ValidationError

from datasources.connections.connectors.bigquery import TOKEN_URI
from datasources.connections.ssh.pasted_keys import (
    check_private_key,
    from_base64,
    mend_private_key,
)
from datasources.connections.ssh.private_keys import OPENSSH, KeyRefused
from datasources.models.connection_strings.grammar import PLACEHOLDER
from rivergen.http.parsers import refuse_constant

BYTE_ORDER_MARK = "\ufeff"
BEARER = re.compile(r"(?:authorization:\s{0,4})?bearer(?:\s{1,4}|$)", re.IGNORECASE)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
QUOTES = "\"'`"
EMPTY = "Must be a non-empty string. Send null to clear it."
KEY_ELSEWHERE = (
    "This is a private key. Enter it as ssh_private_key, and its passphrase, if it has one, as "
    "ssh_private_key_passphrase."
)
NO_JSON_OBJECT = (
    "Must be the text of a JSON object: the whole JSON key file of a service account, from { to }."
)
# What else the files of Google hold, by the `type` or the only member of the object.
OTHER_FILES = {
    "authorized_user": "This is the login of a person (type authorized_user).",
    "external_account": "This is a configuration of workload identity (type external_account).",
    "impersonated_service_account": "This is an impersonation of a service account.",
    "installed": "This is an OAuth client, which programs use to let people log in.",
    "web": "This is an OAuth client, which programs use to let people log in.",
}
HOW_SERVICE_ACCOUNT = (
    "Enter the JSON key file of a service account: Google Cloud console, IAM > Service accounts > "
    "Keys > Add key > JSON."
)


def mend_secret(field: str, text: str) -> str:
    """Return a secret as it is stored. Raises ValidationError if it can never be used.

    Passphrases are not tried here, but in `open_entered_key`.
    """
    if field == "ssh_private_key":
        try:
            return mend_private_key(text)
        except KeyRefused as error:
            raise ValidationError(str(error)) from None
    if field == "service_account_json":
        return mend_service_account(text)
    text = mend_line(text)
    if PRIVATE_KEY.search(text):
        raise ValidationError(KEY_ELSEWHERE)
    return mend_token(text) if field == "token" else text


def mend_line(text: str) -> str:
    """Return a secret without the line breaks and byte order mark of the file it came from.

    Spaces remain, as a password may begin or end with one.
    """
    if not (line := text.removeprefix(BYTE_ORDER_MARK).strip("\r\n")):
        raise ValidationError(EMPTY)
    return line


def mend_token(text: str) -> str:
    """Return a token without `Bearer`, quotes and white space around it.

    Raises ValidationError.
    """
    visible = (letter for letter in text if unicodedata.category(letter) != "Cf")
    token = "".join(visible).strip()
    if len(token) > 1 and (token[0] == token[-1] and token[0] in QUOTES or token[0] in "“‘"):
        token = token[1:-1].strip()
    token = token[match.end() :] if (match := BEARER.match(token)) else token
    if not token:
        raise ValidationError(EMPTY)
    if PLACEHOLDER.fullmatch(token):
        raise ValidationError("This is a placeholder for a token. Enter the token itself.")
    if any(unicodedata.category(letter) == "Cc" for letter in token):
        raise ValidationError("A token is one line, without tabs. Paste it again.")
    return token


def mend_service_account(text: str) -> str:
    """Return the JSON key file of a service account. Raises ValidationError for any other text."""
    text, key = read_object(text)
    kind = key.get("type")
    for name, sentence in OTHER_FILES.items():
        if kind == name or [*key] == [name]:
            raise ValidationError(f"{sentence} {HOW_SERVICE_ACCOUNT}")
    if kind != "service_account":
        raise ValidationError(f'"type" must be "service_account". {HOW_SERVICE_ACCOUNT}')
    for name in ("client_email", "private_key"):
        if not isinstance(key.get(name), str) or not key[name].strip():
            raise ValidationError(f'"{name}" is missing. {HOW_SERVICE_ACCOUNT}')
    if key.get("token_uri", TOKEN_URI) != TOKEN_URI:
        raise ValidationError(f'"token_uri" must be {TOKEN_URI}, or left out.')
    try:
        mended, private_key = check_private_key(key["private_key"], None)
    except KeyRefused as error:
        if error.is_passphrase:
            raise ValidationError(f'"private_key" is encrypted. {HOW_SERVICE_ACCOUNT}') from None
        raise ValidationError(f'In "private_key": {error}') from None
    if not isinstance(private_key, RSAPrivateKey) or OPENSSH in mended:
        raise ValidationError(f'"private_key" is no RSA key in PEM format. {HOW_SERVICE_ACCOUNT}')
    # What Google wrote is kept to the letter.
    if mended.strip() == key["private_key"].strip():
        return text
    return json.dumps(key | {"private_key": mended})


def read_object(text: str) -> tuple[str, dict[str, Any]]:
    """Return the text of a JSON object, which may be quoted or in Base64, and the object.

    Raises ValidationError.
    """
    text = text.strip().removeprefix(BYTE_ORDER_MARK).strip()
    value = read_json(text)
    if isinstance(value, str):
        text = value.strip()
        value = read_json(text)
    elif value is None and "{" not in text:
        # UTF-16, which PowerShell writes, is ASCII between null bytes.
        body = (from_base64(text) or b"").lstrip(b"\xff\xfe").replace(b"\0", b"")
        text = body.decode("utf-8-sig", errors="replace").strip()
        value = read_json(text)
    if not isinstance(value, dict):  # quotes, a name or a fence around it
        text = text[text.find("{") : text.rfind("}") + 1]
        value = read_json(text)
    if value is None and (value := read_json(text, strict=False)) is not None:
        text = json.dumps(value)
    if not isinstance(value, dict):
        raise ValidationError(NO_JSON_OBJECT)
    return text, value


def read_json(text: str, *, strict: bool = True) -> Any:
    """Return the value of a JSON text (RFC 8259); None if it is no JSON.

    Unless `strict`, strings may have line breaks and tabs in them.
    """
    try:
        return json.loads(text, parse_constant=refuse_constant, strict=strict)
    except (RecursionError, ValueError):
        return None
