"""Serializers of credentials: secrets can be entered, but are never returned."""

import functools
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from datasources.connections.connectors.base import (
    CREDENTIAL_FIELDS,
    SECRET_FIELDS,
    SSH_SECRETS,
)
from datasources.credentials.private_keys import open_entered_key
from datasources.credentials.validators import SECRET_MAX_BYTES, read_secret, validate_field
from datasources.models import DataSource
from datasources.models.validators import validate_line
from datasources.serializers import DataSourceCreateSerializer, run_model_validator
from rivergen.http.serializers import StrictCharField, StrictSerializer

HELP_TEXTS = {
    "username": "The name to log in to the source with. It is not a secret, and is shown.",
    "password": "The password of this user.",
    "ssh_password": "The password of `ssh_username` on the SSH server.",
    "ssh_private_key": "The private key of `ssh_username`, in OpenSSH or PEM format, with its "
    "header. It is opened before it is stored; line breaks, quotes and indentation that got lost "
    "or added on the way are mended.",
    "ssh_private_key_passphrase": "What the private key is encrypted with, if it is.",
    "token": "The access token, for types that use one in place of a password.",
    "service_account_json": "The content of the JSON key file of a service account, with `type`, "
    "`client_email` and `private_key`.",
}


@extend_schema_field(
    {"type": "string", "format": "password", "minLength": 1, "maxLength": SECRET_MAX_BYTES}
)
class SecretField(serializers.Field):
    """A secret, stored as `read_secret` returns it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, write_only=True, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        read = functools.partial(read_secret, str(self.field_name))
        text: str = run_model_validator(read, data)
        return text


@extend_schema_field(
    {"type": "string", "format": "json-object", "minLength": 2, "maxLength": SECRET_MAX_BYTES}
)
class JSONSecretField(SecretField):
    """A secret whose text is a JSON object."""


class CredentialsUpdateSerializer(StrictSerializer):
    """Credentials to store. Null clears one. Only those that the type of the source uses."""

    instance: DataSource

    username = StrictCharField(
        required=False,
        allow_null=True,
        trim_whitespace=True,
        max_length=255,
        validators=[validate_line],
        help_text=HELP_TEXTS["username"],
    )
    password = SecretField(help_text=HELP_TEXTS["password"])
    ssh_password = SecretField(help_text=HELP_TEXTS["ssh_password"])
    ssh_private_key = SecretField(help_text=HELP_TEXTS["ssh_private_key"])
    ssh_private_key_passphrase = SecretField(help_text=HELP_TEXTS["ssh_private_key_passphrase"])
    token = SecretField(help_text=HELP_TEXTS["token"])
    service_account_json = JSONSecretField(help_text=HELP_TEXTS["service_account_json"])

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        validate = functools.partial(validate_field, data_source=self.instance)
        # First say that the type does not use a credential: no other value of it would fit.
        for field in [*values, *(errors.keys() & set(CREDENTIAL_FIELDS))]:
            try:
                run_model_validator(validate, field)
            except serializers.ValidationError as error:
                errors[field] = error.detail  # type: ignore[assignment]
        if errors.keys().isdisjoint(SSH_SECRETS):
            cleared = self.context.get("cleared", {})
            try:
                values |= open_entered_key(self.instance, {**cleared, **values})
            except ModelValidationError as error:
                errors |= error.message_dict


def check_credentials(
    data_source: DataSource, credentials: Any
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Return the valid credentials of a body, and the errors by name: `credentials.password`."""
    if not isinstance(credentials, dict):
        return {}, {"credentials": ["Must be a JSON object."]}
    serializer = CredentialsUpdateSerializer(data_source, data=credentials)
    if serializer.is_valid():
        return serializer.validated_data, {}
    return {}, {f"credentials.{field}": error for field, error in serializer.errors.items()}


@extend_schema_serializer(component_name="DataSourceCreate")
class NewDataSourceSerializer(DataSourceCreateSerializer):
    """A new data source. A connection needs the fields that its type requires.

    `validated_data` also has its `credentials`, by field. The field `credentials` is declared for
    openapi.json only: which ones are valid depends on the type.
    """

    credentials = CredentialsUpdateSerializer(
        required=False,
        help_text="Stored with the data source, encrypted and never shown. Errors name them as "
        "`credentials.password`. A secret that the connection string has, too, is refused.",
    )

    class Meta(DataSourceCreateSerializer.Meta):
        fields: tuple[str, ...] = (*DataSourceCreateSerializer.Meta.fields, "credentials")

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        fields = {name: value for name, value in data.items() if name != "credentials"}
        return super().to_internal_value(fields)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        credentials: dict[str, str | None] = {}
        if "type" in values:
            data_source = DataSource(**values)
            sent = self.initial_data.get("credentials", {})
            credentials, found = check_credentials(data_source, sent)
            entered = [field for field, text in credentials.items() if text is not None]
            for field, sentence in data_source.given_twice(entered).items():
                found[f"credentials.{field}"] = [sentence]
            errors.update(found)
        super().add_errors(values, errors)
        values["credentials"] = credentials


class SecretStateSerializer(serializers.Serializer):
    """The state of a secret, without its value."""

    is_set = serializers.BooleanField(help_text="Whether a value is stored.")
    confirmed = serializers.BooleanField(
        help_text="Whether the value may be sent to the destination as it is now."
    )
    set_at = serializers.DateTimeField(
        allow_null=True, help_text="When the value was entered. Null if none is set."
    )
    set_by_user_id = serializers.IntegerField(
        allow_null=True,
        help_text="The user who entered the value. Null for commands, and if none is set.",
    )


class CredentialsSerializer(serializers.Serializer):
    """The credentials of a data source: the username, and the state of each secret."""

    username = serializers.CharField(allow_null=True, help_text=HELP_TEXTS["username"])
    password = SecretStateSerializer(help_text=HELP_TEXTS["password"])
    ssh_password = SecretStateSerializer(help_text=HELP_TEXTS["ssh_password"])
    ssh_private_key = SecretStateSerializer(help_text=HELP_TEXTS["ssh_private_key"])
    ssh_private_key_passphrase = SecretStateSerializer(
        help_text=HELP_TEXTS["ssh_private_key_passphrase"]
    )
    token = SecretStateSerializer(help_text=HELP_TEXTS["token"])
    service_account_json = SecretStateSerializer(help_text=HELP_TEXTS["service_account_json"])

    def to_representation(self, instance: DataSource) -> dict[str, Any]:
        destination = instance.destination
        states: dict[str, Any] = {
            credential.field: {
                "is_set": True,
                "confirmed": credential.may_be_sent_to(destination),
                "set_at": credential.set_at,
                "set_by_user_id": credential.set_by_id,
            }
            for credential in instance.credentials.all()
        }
        unset = {"is_set": False, "confirmed": False, "set_at": None, "set_by_user_id": None}
        secrets = {field: states.get(field, unset) for field in SECRET_FIELDS}
        return super().to_representation({"username": instance.username, **secrets})
