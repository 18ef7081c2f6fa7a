"""What staff enter that is never shown again."""

from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError

from datasources.models.connection_strings import validate_connection_string, without_secrets
from datasources.models.validators import TOO_DEEP, validate_metadata


class ShownTextField(forms.CharField):
    """Text as it is, with the space around it; sent back as it was shown, it is no change.

    For browsers send line breaks as CRLF from several lines, and drop them from a single one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"strip": False, **options})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if text else text

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self._as_sent(initial) != self._as_sent(data)

    def _as_sent(self, text: str | None) -> str:
        has_lines = isinstance(self.widget, forms.Textarea)
        return ("\n" if has_lines else "").join((text or "").replace("\r\n", "\n").split("\n"))


class TagsField(SimpleArrayField):
    """Tags, one on each line; some have commas."""

    def __init__(self, base_field: forms.Field, **options: Any) -> None:
        super().__init__(base_field, delimiter="\n", widget=forms.Textarea, **options)

    def to_python(self, value: Any) -> Any:
        lines = [line.strip() for line in (value or "").splitlines()]
        return super().to_python("\n".join(filter(None, lines)))

    def has_changed(self, initial: Any, data: Any) -> bool:
        shown = str(self.prepare_value(initial) or "")
        return shown.splitlines() != (data or "").splitlines()


class ConnectionStringField(ShownTextField):
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


class SecretField(ShownTextField):
    """A secret on one line, or on several; left empty, what is stored stays."""

    def __init__(self, *, has_lines: bool = False) -> None:
        attributes = {"autocomplete": "new-password", "class": "vTextField"}
        widget: forms.Widget = forms.PasswordInput(attrs=attributes)
        if has_lines:
            widget = forms.Textarea(attrs={"autocomplete": "off", "rows": 4, "spellcheck": "false"})
        super().__init__(required=False, widget=widget)

    def bound_data(self, data: Any, initial: Any) -> str:
        return ""
