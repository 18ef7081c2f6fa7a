"""Serializers of connection tests, drafts, host keys and the catalogue of source types."""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from datasources.connections.connectors import DataSourceType
from datasources.connections.connectors.base import ConnectorClass
from datasources.connections.failures import Code
from datasources.connections.protection import WarningCode
from datasources.connections.stages import STAGE_NAMES
from datasources.credentials.serializers import NewDataSourceSerializer
from datasources.models import DataSource
from rivergen.http.serializers import StrictCharField, StrictIntegerField, StrictSerializer

JSON_TYPES: dict[type[models.Field], str] = {
    models.BooleanField: "boolean",
    models.IntegerField: "integer",
}
# Fields that every type has.
LIMITS = ("connection_pool_size", "connection_timeout", "query_timeout", "max_retries")
# Fields of types that are reached by host and port.
TUNNEL_FIELDS = ("use_ssh_tunnel", "ssh_host", "ssh_port", "ssh_username", "ssh_local_port")
CATALOGUE_ENTRY = (
    "name",
    "label",
    "default_port",
    "url_schemes",
    "url_options",
    "credential_fields",
    "driver",
    "is_verified",
)


class FieldDescriptionSerializer(serializers.Serializer):
    """A field that data sources of a type use, and its limits."""

    name = serializers.CharField()
    required = serializers.BooleanField(  # type: ignore[assignment]
        help_text="Whether a connection needs it, from this field or from the connection string."
    )
    type = serializers.ChoiceField(choices=("string", "integer", "boolean"))
    max_length = serializers.IntegerField(allow_null=True, help_text="Characters.")
    minimum = serializers.IntegerField(allow_null=True)
    maximum = serializers.IntegerField(allow_null=True)


class DataSourceTypeInfoSerializer(serializers.Serializer):
    """A type of data sources in the catalogue."""

    type = serializers.ChoiceField(choices=DataSourceType.choices, source="name")
    name = serializers.CharField(source="label")
    default_port = serializers.IntegerField(allow_null=True)
    url_schemes = serializers.ListField(child=serializers.CharField())
    url_options = serializers.ListField(child=serializers.CharField())
    fields = FieldDescriptionSerializer(many=True)  # type: ignore[assignment]
    credential_fields = serializers.ListField(child=serializers.CharField())
    driver = serializers.CharField()
    driver_installed = serializers.BooleanField(source="is_driver_installed")
    verified = serializers.BooleanField(
        source="is_verified",
        help_text="Whether the test suite logs in to a live server of this type.",
    )

    def to_representation(self, instance: ConnectorClass) -> dict[str, Any]:
        entry = {name: getattr(instance, name) for name in CATALOGUE_ENTRY}
        entry |= {"is_driver_installed": instance.is_driver_installed()}
        return super().to_representation(entry | {"fields": describe_fields(instance)})


def describe_fields(connector: ConnectorClass) -> list[dict[str, Any]]:
    """Return descriptions of the fields that data sources of a type use, required ones first."""
    tunnel_fields = TUNNEL_FIELDS if connector.has_endpoint else ()
    names = (*connector.required_fields, *connector.optional_fields, *tunnel_fields, *LIMITS)
    return [describe_field(name, name in connector.required_fields) for name in names]


def describe_field(name: str, is_required: bool) -> dict[str, Any]:
    """Return the description of a field: its JSON type and limits."""
    field = DataSource._meta.get_field(name)
    assert isinstance(field, models.Field)
    bounds = {
        type(validator): validator.limit_value
        for validator in field.validators
        if isinstance(validator, MinValueValidator | MaxValueValidator)
    }
    return {
        "name": name,
        "required": is_required,
        "type": JSON_TYPES.get(type(field), "string"),
        "max_length": field.max_length,
        "minimum": bounds.get(MinValueValidator),
        "maximum": bounds.get(MaxValueValidator),
    }


class ConnectionTestStageSerializer(serializers.Serializer):
    """A stage of a connection test, such as `tcp`."""

    stage = serializers.ChoiceField(choices=STAGE_NAMES)
    ok = serializers.BooleanField()
    milliseconds = serializers.FloatField()


class SSHHostKeySerializer(serializers.Serializer):
    """An SSH host key that waits for confirmation."""

    key = serializers.CharField()
    fingerprint = serializers.CharField()


class ConnectionTestWarningSerializer(serializers.Serializer):
    """Something that the connection did not protect."""

    code = serializers.ChoiceField(choices=WarningCode.choices)
    message = serializers.CharField(help_text="What it means, and what to do.")


class ConnectionTestSerializer(serializers.Serializer):
    """A connection test; `ok`, `code` and `message` are null until it has finished."""

    test_id = serializers.UUIDField()
    data_source_id = serializers.IntegerField(
        allow_null=True, help_text="Null for a draft, which is not stored."
    )
    version = serializers.IntegerField(allow_null=True, help_text="Of the data source.")
    requested_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    ok = serializers.BooleanField(allow_null=True)
    code = serializers.ChoiceField(choices=Code.choices, allow_null=True)
    message = serializers.CharField(allow_null=True, help_text="What it means, and what to do.")
    stages = ConnectionTestStageSerializer(many=True)
    server_version = serializers.CharField(allow_null=True)
    ssh_host_key = SSHHostKeySerializer(
        allow_null=True, help_text="The host key that was refused because nobody has confirmed it."
    )
    warnings = ConnectionTestWarningSerializer(
        many=True,
        help_text="What the connection did not protect, also if it works. If it fails, only "
        "whether the password was sent in clear.",
    )


class HostKeyConfirmationSerializer(StrictSerializer):
    """The host key to confirm, by its fingerprint."""

    fingerprint = StrictCharField(
        max_length=100,
        help_text="The fingerprint you checked: 409 if the last test was shown another key.",
    )


@extend_schema_serializer(component_name="Draft")
class DraftSerializer(NewDataSourceSerializer):
    """A configuration to test without storing it; it needs no name.

    `based_on` is declared for openapi.json only: `read_draft` takes it out of the body first.
    """

    based_on = StrictIntegerField(
        required=False,
        help_text="The id of a data source, whose fields and secrets fill in what the draft leaves "
        "out; its secrets only if the caller may send them to the draft's destination.",
    )

    class Meta(NewDataSourceSerializer.Meta):
        fields: tuple[str, ...] = (*NewDataSourceSerializer.Meta.fields, "based_on")
        extra_kwargs = {"name": {"required": False}}
