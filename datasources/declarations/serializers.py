"""Serializers of declarations (for openapi.json) and of the plan."""

from rest_framework import serializers

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.declarations.input import DATA_SOURCES_MAX
from datasources.declarations.plan import KINDS
from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.serializers import ChangesField, DataSourceWriteSerializer
from rivergen.http.serializers import StrictSerializer


class DeclaredCredentialsSerializer(StrictSerializer):
    """Credentials; a secret is given as a reference such as `${file:orders}`, null clears it."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            name: serializers.CharField(required=False, allow_null=True)
            for name in CREDENTIAL_FIELDS
        }


class DeclaredDataSourceSerializer(DataSourceWriteSerializer):
    """A declared data source; fields that are left out stay unchanged."""

    workspace = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="Name of the workspace. Default: the organization's first.",
    )
    credentials = DeclaredCredentialsSerializer(required=False, allow_null=True)

    class Meta:
        model = DataSource
        fields = ("name", "workspace", "type", *UPDATABLE_FIELDS[1:], "credentials")
        extra_kwargs = {
            "type": {"required": False, "help_text": "Required for a new data source."},
            "name": {"trim_whitespace": True},
        }


class DeclarationsSerializer(StrictSerializer):
    """The data sources of an organization, identified by workspace and name."""

    organization = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=63,
        help_text="Short name of the organization. Default: the caller's only one.",
    )
    data_sources = serializers.ListField(
        child=DeclaredDataSourceSerializer(), max_length=DATA_SOURCES_MAX
    )


class PlanStepSerializer(serializers.Serializer):
    """What is done with one data source; for a secret, `changes` has its state, never its value."""

    action = serializers.ChoiceField(choices=KINDS, source="kind")
    workspace = serializers.CharField()
    name = serializers.CharField()
    type = serializers.ChoiceField(choices=DataSource.Type.choices)
    changes = ChangesField()


class PlanSummarySerializer(serializers.Serializer):
    """The number of steps of each kind."""

    create = serializers.IntegerField()  # type: ignore[assignment]
    change = serializers.IntegerField()
    delete = serializers.IntegerField()
    keep = serializers.IntegerField()


class PlanSerializer(serializers.Serializer):
    """The steps that led, or with `dry_run` would lead, to what is declared."""

    steps = PlanStepSerializer(many=True)
    summary = PlanSummarySerializer(source="counts")
