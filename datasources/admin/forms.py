"""The form of a data source, which saves only the version that it showed."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from datasources.admin.fields import (
    ConnectionStringField,
    MetadataField,
    SecretField,
    TagsField,
    TrimmedTextField,
    VerbatimTextField,
)
from datasources.admin.history import describe_conflict
from datasources.connections.connectors.base import CREDENTIAL_FIELDS, SECRET_FIELDS
from datasources.models import NAME_TAKEN, UPDATABLE_FIELDS, DataSource
from datasources.models.validators import validate_line

TRIMMED_FIELDS = (
    "host",
    "database_name",
    "schema_name",
    "file_path",
    "ssh_host",
    "ssh_username",
)
SECRET_HELP = "Leave empty to keep the stored value, which is never shown."


class DataSourceForm(forms.ModelForm):
    """The fields and credentials that staff may write; `shown_version` detects concurrent edits."""

    shown_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    username = TrimmedTextField(max_length=255, required=False, validators=[validate_line])
    password = SecretField()
    ssh_password = SecretField()
    ssh_private_key = SecretField(has_lines=True)
    ssh_private_key_passphrase = SecretField()
    token = SecretField()
    service_account_json = SecretField(has_lines=True)
    removed_secrets = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Ticked secrets are deleted when you save.",
    )

    class Meta:
        model = DataSource
        fields = ("workspace", "type", *UPDATABLE_FIELDS)
        field_classes = {
            "description": VerbatimTextField,
            **dict.fromkeys(TRIMMED_FIELDS, TrimmedTextField),
            "connection_string": ConnectionStringField,
            "metadata": MetadataField,
            "tags": TagsField,
        }
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}
        help_texts = {
            "connection_string": "A URL whose scheme fits the type. A password in it moves to the "
            "credentials and is never shown again, not even after an error.",
            "metadata": "A JSON object without secrets.",
            "tags": "One tag per line.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["shown_version"] = self.instance.version
        self._fit_credentials()
        for name, field in self.fields.items():
            field.show_hidden_initial = False  # `shown_version` stands for what was shown
            if name.startswith("ssh_"):
                field.label = name.replace("_", " ").replace("ssh", "SSH")

    def _fit_credentials(self) -> None:
        """Keep only the credentials that the type takes, and say which secrets are set.

        A new data source has no credentials: its type is not known yet.
        """
        is_stored = self.instance.pk is not None
        taken = self.instance.connector.credential_fields if is_stored else ()
        for field in CREDENTIAL_FIELDS:
            if field not in taken:
                del self.fields[field]
        self.initial["username"] = self.instance.username
        stored: dict[str, Any] = {}
        if is_stored:
            stored = {secret.field: secret for secret in self.instance.credentials.all()}
        for field in SECRET_FIELDS:
            if field in self.fields:
                state = stored[field].state if field in stored else "not set"
                self.fields[field].help_text = f"Now {state}. {SECRET_HELP}"
        removable: Any = self.fields["removed_secrets"]
        removable.choices = [(field, field) for field in stored]
        if not stored:
            del self.fields["removed_secrets"]

    def _get_validation_exclusions(self) -> set[str]:
        """Return the fields that the model does not check: also those that nobody has changed.

        They are not written, and may be older than the rules of today.
        """
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        if self.instance.pk is None:
            return exclusions
        return exclusions | self.fields.keys() - self.changed_data

    @property
    def changes(self) -> dict[str, Any]:
        """Return the fields that differ from what the page showed, with their new values."""
        changed = [field for field in self.changed_data if field in UPDATABLE_FIELDS]
        return {field: self.cleaned_data[field] for field in changed}

    @property
    def credentials(self) -> dict[str, str | None]:
        """Return the credentials that were entered; None stands for a removed credential."""
        removed: list[str] = self.cleaned_data.get("removed_secrets", [])
        changed = [field for field in self.changed_data if field in CREDENTIAL_FIELDS]
        entered = {field: self.cleaned_data.get(field) or None for field in changed}
        return dict.fromkeys(removed) | entered

    def clean_name(self) -> str:
        # Django skips the unique constraint here: `workspace` is read-only, so not in the form.
        name: str = self.cleaned_data["name"]
        if self.instance.pk and self.instance.is_name_taken(name):
            raise ValidationError(NAME_TAKEN)
        return name

    def clean(self) -> None:
        if self.instance.pk is None:
            return
        shown_version = self.cleaned_data.get("shown_version")
        if shown_version != self.instance.version:
            raise ValidationError(describe_conflict(self.instance, shown_version))
        stored = self.instance.credentials.read(self.credentials)
        self.cleaned_data |= {field: text for field, text in stored.items() if text is not None}
