"""Form fields that keep text exactly, and that never show a secret again."""

import re
from json import JSONDecodeError
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError

from datasources.models.connection_strings import validate_connection_string, without_secrets
from datasources.models.validators import stored_form, validate_metadata
from rivergen.http.parsers import RefusedJSONError, read_json

LINE_BREAK = re.compile(r"\r\n|\n|\r")


class VerbatimTextField(forms.CharField):
    """Text kept exactly, outer whitespace included; sending back what was shown is no change.

    Browsers send each line break (LF, CR or both) as CRLF from a textarea, and drop it from a
    single-line input.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"strip": False, **options})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return text.replace("\r\n", "\n") if text else text

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self._as_browser_sends(initial) != self._as_browser_sends(data)

    def _as_browser_sends(self, text: str | None) -> str:
        has_lines = isinstance(self.widget, forms.Textarea)
        return LINE_BREAK.sub("\n" if has_lines else "", text or "")


class TrimmedTextField(VerbatimTextField):
    """Text on one line, without the white space that was pasted with it.

    A stored value that has some is shown with it, and stays until somebody changes it.
    """

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.strip() if isinstance(value, str) else value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        trimmed = data.strip() if isinstance(data, str) else data
        return super().has_changed(initial, data) and super().has_changed(initial, trimmed)


class TagsField(SimpleArrayField):
    """Tags, one per line, because a tag may contain commas."""

    def __init__(self, base_field: forms.Field, **options: Any) -> None:
        super().__init__(base_field, delimiter="\n", widget=forms.Textarea, **options)

    def to_python(self, value: Any) -> Any:
        return super().to_python("\n".join(map(stored_form, self._lines(value))))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self._lines(self.prepare_value(initial)) != self._lines(data)

    def _lines(self, text: str | None) -> list[str]:
        """Return the lines that are not blank, without surrounding white space."""
        # Not splitlines(), which also breaks at characters that a browser takes for text.
        return [line.strip() for line in LINE_BREAK.split(text or "") if line.strip()]


class ConnectionStringField(TrimmedTextField):
    """A URL whose password is accepted and never shown again, not even beside a form error."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        data = (data or "").strip()
        try:
            validate_connection_string(data)
        except ValidationError:
            return ""  # an unparsable URL: the password cannot be located
        return without_secrets(data)


class MetadataField(forms.JSONField):
    """A JSON object, read as the API reads it.

    Rejected input is not shown again: it may contain a secret.
    """

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            return None
        try:
            return read_json(value)
        except JSONDecodeError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None
        except RefusedJSONError as error:
            raise ValidationError(str(error)) from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            metadata = self.to_python(data)
            validate_metadata(metadata)
        except ValidationError:
            return initial
        return metadata


class SecretField(VerbatimTextField):
    """A secret, on one or several lines. Leaving the field empty keeps the stored value."""

    def __init__(self, *, has_lines: bool = False) -> None:
        attributes = {"autocomplete": "new-password", "class": "vTextField"}
        widget: forms.Widget = forms.PasswordInput(attrs=attributes)
        if has_lines:
            widget = forms.Textarea(attrs={"autocomplete": "off", "rows": 4, "spellcheck": "false"})
        super().__init__(required=False, widget=widget)

    def bound_data(self, data: Any, initial: Any) -> str:
        return ""
