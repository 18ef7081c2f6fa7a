"""What staff enter that is never shown again."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from datasources.connection_strings import validate_connection_string, without_secrets
from datasources.validators import TOO_DEEP, validate_metadata


class ConnectionStringField(forms.CharField):
    """A URL whose password is taken but never shown, not on a page that tells of errors either."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            validate_connection_string(data or "")
        except ValidationError:
            return ""  # where the password is in it, nobody can say
        return without_secrets(data)


class MetadataField(forms.JSONField):
    """A JSON object; what is refused is not shown again, for it may be refused as a secret."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise ValidationError(TOO_DEEP) from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            metadata = self.to_python(data)
            validate_metadata(metadata)
        except ValidationError:
            return initial
        return metadata


class SecretField(forms.CharField):
    """A secret on one line, or on several; left empty, what is stored stays."""

    def __init__(self, *, has_lines: bool = False) -> None:
        attributes = {"autocomplete": "new-password", "class": "vTextField"}
        widget: forms.Widget = forms.PasswordInput(attrs=attributes)
        if has_lines:
            widget = forms.Textarea(attrs={"autocomplete": "off", "rows": 4, "spellcheck": "false"})
        super().__init__(required=False, strip=False, widget=widget)

    def to_python(self, value: Any) -> str:
        # A browser sends the lines of a text area with CRLF, which not every key parser takes.
        return (super().to_python(value) or "").replace("\r\n", "\n")

    def bound_data(self, data: Any, initial: Any) -> str:
        return ""
