"""Serializers of connection tests, drafts, host keys and the catalogue of source types."""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from datasources.connections.connectors import DataSourceType
from datasources.connections.connectors.base import ConnectorClass
from datasources.connections.failures import Code
from datasources.connections.files.formats import Format
from datasources.connections.protection import WarningCode
from datasources.connections.stages import STAGE_NAMES
from datasources.credentials.serializers import CredentialsUpdateSerializer, NewDataSourceSerializer
from datasources.models import DataSource
from rivergen.http.openapi.errors import ErrorInfoSerializer
from rivergen.http.serializers import StrictCharField, StrictIntegerField, StrictSerializer

JSON_TYPES = {"BooleanField": "boolean", "IntegerField": "integer"}
"""The types that are no string, by the kind of column."""
# Fields that every type has.
LIMITS = ("connection_pool_size", "connection_timeout", "query_timeout", "max_retries")
# As many as the updates of one request.
IDS_MAX = 200
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

    name = serializers.CharField(help_text="The name of the field of a data source.")
    required = serializers.BooleanField(  # type: ignore[assignment]
        help_text="Whether a connection needs it, from this field or from the connection string."
    )
    type = serializers.ChoiceField(
        choices=("string", "integer", "boolean"), help_text="The JSON type of its values."
    )
    max_length = serializers.IntegerField(
        allow_null=True, help_text="The most characters of a string. Null: not a string."
    )
    minimum = serializers.IntegerField(
        allow_null=True, help_text="The smallest number. Null: not a number."
    )
    maximum = serializers.IntegerField(
        allow_null=True, help_text="The largest number. Null: not a number."
    )


class DataSourceTypeInfoSerializer(serializers.Serializer):
    """A type of data sources, and what it needs."""

    type = serializers.ChoiceField(
        choices=DataSourceType.choices,
        source="name",
        help_text="What to send as the `type` of a new data source.",
    )
    name = serializers.CharField(source="label", help_text="What people call this type.")
    default_port = serializers.IntegerField(
        allow_null=True, help_text="The port if none is given. Null: the type has no port."
    )
    url_schemes = serializers.ListField(
        child=serializers.CharField(),
        help_text="Schemes that its connection strings may begin with, before `://`. The names of "
        "drivers after `+`, as SQLAlchemy has them, are dropped.",
    )
    url_options = serializers.ListField(
        child=serializers.CharField(),
        help_text="Parameters that its connection strings may have after `?`, whatever their case. "
        "Those that only other clients use are ignored.",
    )
    fields = FieldDescriptionSerializer(  # type: ignore[assignment]
        many=True, help_text="The fields that it uses, the required ones first."
    )
    credential_fields = serializers.ListField(
        child=serializers.CharField(), help_text="The credentials that it uses."
    )
    driver = serializers.CharField(help_text="The Python package that connects to it.")
    driver_installed = serializers.BooleanField(
        source="is_driver_installed", help_text="Whether this service can connect to it."
    )
    verified = serializers.BooleanField(
        source="is_verified",
        help_text="Whether the tests of this service log in to a live server of this type.",
    )

    def to_representation(self, instance: ConnectorClass) -> dict[str, Any]:
        entry = {name: getattr(instance, name) for name in CATALOGUE_ENTRY}
        entry |= {name: [*entry[name]] for name in ("url_schemes", "url_options")}
        entry |= {"is_driver_installed": instance.is_driver_installed()}
        return super().to_representation(entry | {"fields": describe_fields(instance)})


def describe_fields(connector: ConnectorClass) -> list[dict[str, Any]]:
    """Return descriptions of the fields that data sources of a type use, required ones first."""
    required = [*connector.required_fields]
    if connector.required_options:
        required.append("connection_string")
    tunnel_fields = TUNNEL_FIELDS if connector.has_endpoint else ()
    names = dict.fromkeys((*required, *connector.optional_fields, *tunnel_fields, *LIMITS))
    return [describe_field(name, name in required) for name in names]


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
        "type": JSON_TYPES.get(field.get_internal_type(), "string"),
        "max_length": field.max_length,
        "minimum": bounds.get(MinValueValidator),
        "maximum": bounds.get(MaxValueValidator),
    }


class ConnectionTestStageSerializer(serializers.Serializer):
    """One stage of a connection test, such as `tcp`."""

    stage = serializers.ChoiceField(
        choices=STAGE_NAMES,
        help_text="What was done: check the egress policy, resolve the name, connect, open the "
        "tunnel, encrypt, log in, or run a trivial query.",
    )
    ok = serializers.BooleanField(help_text="Whether the stage was passed.")
    milliseconds = serializers.FloatField(help_text="How long the stage took.")


class SSHHostKeySerializer(serializers.Serializer):
    """An SSH host key that waits for confirmation."""

    key = serializers.CharField(help_text="The public key, in OpenSSH format.")
    fingerprint = serializers.CharField(
        help_text="The SHA-256 fingerprint, as `ssh-keygen -l` prints it on the server."
    )


class ConnectionTestWarningSerializer(serializers.Serializer):
    """Something that the connection did not protect, or that is a guess about a file."""

    code = serializers.ChoiceField(
        choices=WarningCode.choices, help_text="What is missing or doubtful, for programs."
    )
    message = serializers.CharField(help_text="What it means, and what to do.")


class FailureDetailsSerializer(serializers.Serializer):
    """What a code is about: only the members that it has. The list may grow."""

    fields = serializers.ListField(  # type: ignore[assignment]
        child=serializers.CharField(),
        required=False,
        help_text="The fields and credentials that are not set.",
    )
    line = serializers.IntegerField(required=False, help_text="The line of the file, from 1.")
    found = serializers.ChoiceField(
        choices=Format.choices, required=False, help_text="What the file seems to be."
    )


class ConnectionTestSerializer(serializers.Serializer):
    """A connection test. `ok`, `code` and `message` are null until it has finished."""

    test_id = serializers.UUIDField(help_text="Identifies the test, for one day.")
    data_source_id = serializers.IntegerField(
        allow_null=True, help_text="The data source. Null: the configuration is not stored."
    )
    version = serializers.IntegerField(
        allow_null=True,
        help_text="The version of the data source that was tested. Null: it is not stored.",
    )
    requested_at = serializers.DateTimeField(help_text="When the test was asked for.")
    finished_at = serializers.DateTimeField(
        allow_null=True, help_text="When the test ended. Null until then."
    )
    ok = serializers.BooleanField(
        allow_null=True, help_text="Whether the connection works. Null until the test has ended."
    )
    code = serializers.ChoiceField(
        choices=Code.choices,
        allow_null=True,
        help_text="The result, for programs. Null until the test has ended.",
    )
    message = serializers.CharField(
        allow_null=True, help_text="What the code means, and what to do."
    )
    details = FailureDetailsSerializer(help_text="What the code is about, for programs.")
    stages = ConnectionTestStageSerializer(
        many=True, help_text="The stages in their order; the last one is where a fault was found."
    )
    server_version = serializers.CharField(
        allow_null=True, help_text="What the source says its version is, if it was reached."
    )
    ssh_host_key = SSHHostKeySerializer(
        allow_null=True, help_text="The host key that was refused because nobody has confirmed it."
    )
    warnings = ConnectionTestWarningSerializer(
        many=True,
        help_text="What the connection did not protect, and what is a guess about a file, also if "
        "it works. If it fails, only whether the password was sent in clear.",
    )


class HostKeyConfirmationSerializer(StrictSerializer):
    """The host key to confirm, by its fingerprint."""

    fingerprint = StrictCharField(
        max_length=100,
        help_text="The fingerprint that you compared with the server's. If the last test met "
        "another key, the answer is 409.",
    )


class StartedTestSerializer(serializers.Serializer):
    """The id of a test that was started."""

    test_id = serializers.UUIDField(help_text="GET /api/v1/connection-tests/{test_id} shows it.")


class TestStartResultSerializer(serializers.Serializer):
    """What became of one of many tests."""

    id = serializers.IntegerField(help_text="The data source.")
    status = serializers.IntegerField(
        help_text="The status that a request for this test alone would have: 202 if it was started."
    )
    data = StartedTestSerializer(  # type: ignore[assignment]
        required=False, help_text="The test, if it was started."
    )
    error = ErrorInfoSerializer(required=False, help_text="What went wrong, if it was not.")


@extend_schema_serializer(component_name="Draft")
class DraftSerializer(NewDataSourceSerializer):
    """A configuration to test without storing it. It needs no name.

    `based_on` and `ids` are declared for openapi.json only: they are taken out of the body first.
    """

    based_on = StrictIntegerField(
        required=False,
        help_text="The id of a data source, whose fields and secrets fill in what is left out; the "
        "secrets only if the caller may send them to the destination given here.",
    )
    credentials = CredentialsUpdateSerializer(
        required=False, help_text="The credentials to test with. They are not stored."
    )

    ids = serializers.ListField(
        child=StrictIntegerField(min_value=1),
        required=False,
        min_length=1,
        max_length=IDS_MAX,
        help_text="Instead of all other fields: the data sources to test as they are stored.",
    )

    class Meta(NewDataSourceSerializer.Meta):
        fields: tuple[str, ...] = (*NewDataSourceSerializer.Meta.fields, "based_on", "ids")
        extra_kwargs: dict[str, dict[str, Any]] = {
            "name": {"required": False},
            "type": {"required": False, "help_text": "Required without `based_on`."},
        }

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        if "type" not in values:
            errors.setdefault("type", ["This field is required."])
        super().add_errors(values, errors)
