"""Validators of credentials, for API, admin and shell."""

from typing import Any

from django.core.exceptions import ValidationError

from datasources.credentials.mending import EMPTY, mend_secret
from datasources.models import DataSource
from datasources.models.validators import is_mask
from rivergen.strict_fields import validate_text

SECRET_MAX_BYTES = 64 * 1024


def validate_field(field: str, data_source: DataSource) -> None:
    """Raise ValidationError if the type of this data source does not use the credential."""
    fitting = data_source.connector.credential_fields
    if field not in fitting:
        uses = f"It uses: {', '.join(fitting)}." if fitting else "It uses no credentials."
        raise ValidationError(f"Type {data_source.type} does not use this credential. {uses}")


def read_secret(field: str, text: Any) -> str:
    """Return a secret in the form that is stored. Raises ValidationError (400) if it is invalid.

    The message never repeats the secret.
    """
    if not isinstance(text, str) or not text:
        raise ValidationError(EMPTY)
    validate_text(text)
    if len(text.encode()) > SECRET_MAX_BYTES:
        raise ValidationError(f"Must not be larger than {SECRET_MAX_BYTES:,} bytes.")
    if is_mask(text):
        raise ValidationError("This is a mask. Leave the field out to keep the stored value.")
    return mend_secret(field, text)
