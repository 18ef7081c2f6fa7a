"""Serializers of credentials: secrets can be entered, but are never returned."""

import functools
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.credentials.validators import SECRET_MAX_BYTES, validate_field, validate_secret
from datasources.models import DataSource
from datasources.models.validators import validate_text
from datasources.serializers import run_model_validator
from rivergen.http.serializers import StrictCharField, StrictSerializer


@extend_schema_field(
    {"type": "string", "format": "password", "minLength": 1, "maxLength": SECRET_MAX_BYTES}
)
class SecretField(serializers.Field):
    """A secret, stored without trimming or any other change."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, write_only=True, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        run_model_validator(functools.partial(validate_secret, str(self.field_name)), data)
        return data


@extend_schema_field(
    {"type": "string", "format": "json-object", "minLength": 2, "maxLength": SECRET_MAX_BYTES}
)
class JSONSecretField(SecretField):
    """A secret whose text is a JSON object."""


class CredentialsUpdateSerializer(StrictSerializer):
    """Credentials to store; null clears. Takes only those that the type of the source uses."""

    instance: DataSource

    username = StrictCharField(
        required=False, allow_null=True, max_length=255, validators=[validate_text]
    )
    password = SecretField()
    ssh_password = SecretField()
    ssh_private_key = SecretField(help_text="In OpenSSH or PEM format, including the header.")
    ssh_private_key_passphrase = SecretField()
    token = SecretField()
    service_account_json = JSONSecretField(help_text="The content of the JSON key file.")

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        validate = functools.partial(validate_field, data_source=self.instance)
        for field in values:
            try:
                run_model_validator(validate, field)
            except serializers.ValidationError as error:
                errors[field] = error.detail  # type: ignore[assignment]


class SecretStateSerializer(serializers.Serializer):
    """The state of a secret, without its value."""

    is_set = serializers.BooleanField()
    confirmed = serializers.BooleanField(
        help_text="Whether the secret may be sent to the current destination."
    )
    set_at = serializers.DateTimeField(allow_null=True)
    set_by_user_id = serializers.IntegerField(allow_null=True)


class CredentialsSerializer(serializers.Serializer):
    """The credentials of a data source: the username, and the state of each secret."""

    username = serializers.CharField(allow_null=True)
    password = SecretStateSerializer()
    ssh_password = SecretStateSerializer()
    ssh_private_key = SecretStateSerializer()
    ssh_private_key_passphrase = SecretStateSerializer()
    token = SecretStateSerializer()
    service_account_json = SecretStateSerializer()

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
