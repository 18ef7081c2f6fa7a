"""Validators of credentials, for API, admin and shell."""

import json
from typing import Any

from django.core.exceptions import ValidationError

from datasources.models import DataSource
from datasources.models.validators import is_mask, validate_text
from rivergen.http.parsers import refuse_constant

SECRET_MAX_BYTES = 64 * 1024
PUBLIC_KEY_STARTS = (
    "ssh-",
    "ecdsa-",
    "sk-ssh-",
    "sk-ecdsa-",
    "-----BEGIN PUBLIC KEY",
    "---- BEGIN",
)


def validate_field(field: str, data_source: DataSource) -> None:
    """Raise ValidationError if the type of this data source does not use the credential."""
    fitting = data_source.connector.credential_fields
    if field not in fitting:
        uses = f"It uses: {', '.join(fitting)}." if fitting else "It uses no credentials."
        raise ValidationError(f"Type {data_source.type} does not use this credential. {uses}")


def validate_secret(field: str, text: Any) -> None:
    """Raise ValidationError (400) if a secret is invalid. The message never repeats the secret."""
    if not isinstance(text, str) or not text:
        raise ValidationError("Must be a non-empty string. Send null to clear it.")
    validate_text(text)
    if len(text.encode()) > SECRET_MAX_BYTES:
        raise ValidationError(f"Must not be larger than {SECRET_MAX_BYTES:,} bytes.")
    if is_mask(text):
        raise ValidationError("This is a mask. Leave the field out to keep the stored value.")
    if field == "service_account_json" and not is_json_object(text):
        raise ValidationError("Must be the text of a JSON object.")
    if field == "ssh_private_key" and text.lstrip().startswith(PUBLIC_KEY_STARTS):
        raise ValidationError("This is a public key. Enter the private key.")


def is_json_object(text: str) -> bool:
    """Return whether the text is one JSON object (RFC 8259)."""
    try:
        return isinstance(json.loads(text, parse_constant=refuse_constant), dict)
    except (RecursionError, ValueError):
        return False
