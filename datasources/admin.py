"""Data sources in the Django admin: the same rules and the same history as over HTTP."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from datasources.connection_strings import validate_connection_string, without_secrets
from datasources.models import (
    NAME_TAKEN,
    SEARCHED_FIELDS,
    UPDATABLE_FIELDS,
    DataSource,
    DataSourceRevision,
)
from datasources.validators import TOO_DEEP, validate_metadata
from organizations.models import User
from rivergen.middleware import request_id
from rivergen.requests import read_id

OVERTAKEN = "Somebody else has changed this data source meanwhile. Open it again, and change that."
READ_ONLY_FIELDS = (
    "organization",
    "status",
    "credentials_status",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
)


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


class DataSourceForm(forms.ModelForm):
    """The fields that staff may write, of the version that the page showed."""

    shown_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = DataSource
        fields = ("workspace", "type", *UPDATABLE_FIELDS)
        field_classes = {"connection_string": ConnectionStringField, "metadata": MetadataField}
        help_texts = {
            "connection_string": "A URL whose scheme fits the type. A password in it goes to the "
            "credentials and is not shown again, not after an error either."
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["shown_version"] = self.instance.version

    def clean_name(self) -> str:
        # Django checks the constraint only where the form has the workspace, too.
        name: str = self.cleaned_data["name"]
        if self.instance.pk and self.instance.is_name_taken(name):
            raise ValidationError(NAME_TAKEN)
        return name

    def clean(self) -> None:
        if self.instance.pk and self.cleaned_data.get("shown_version") != self.instance.version:
            raise ValidationError(OVERTAKEN)


@admin.register(DataSource)
class DataSourceAdmin(admin.ModelAdmin):
    """Data sources of all organizations."""

    form = DataSourceForm
    list_display = ("name", "type", "organization", "workspace", "status", "credentials_status")
    list_filter = ("type", "status", "credentials_status")
    list_select_related = ("organization", "workspace")
    search_fields = SEARCHED_FIELDS
    raw_id_fields = ("workspace",)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        # Of two that save the same version, one has to wait, and then sees that it is overtaken.
        if request.method == "POST":
            DataSource.objects.for_update().filter(pk=read_id(object_id)).first()
        return super().get_object(request, object_id, from_field)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return READ_ONLY_FIELDS if obj is None else ("workspace", "type", *READ_ONLY_FIELDS)

    def save_model(self, request: HttpRequest, obj: DataSource, form: Any, change: bool) -> None:
        user = request.user
        assert isinstance(user, User)
        recorded: dict[str, Any] = {
            "origin": DataSourceRevision.Origin.ADMIN,
            "request_id": request_id.get(),
        }
        if change:
            fields = [field for field in form.changed_data if field in UPDATABLE_FIELDS]
            changes = {field: form.cleaned_data[field] for field in fields}
            obj.apply_changes(changes, user=user, **recorded)
        else:
            obj.created_by = obj.updated_by = user
            obj.save(**recorded)
