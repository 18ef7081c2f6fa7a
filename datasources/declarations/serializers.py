"""Serializers of declarations (for openapi.json) and of the plan."""

from rest_framework import serializers

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.credentials.serializers import HELP_TEXTS
from datasources.declarations.input import DATA_SOURCES_MAX
from datasources.declarations.plan import KINDS
from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.serializers import ChangesField, DataSourceWriteSerializer
from rivergen.http.serializers import StrictSerializer


class DeclaredCredentialsSerializer(StrictSerializer):
    """Credentials. A secret is a reference such as `${file:orders}`; null clears it."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            name: serializers.CharField(required=False, allow_null=True, help_text=HELP_TEXTS[name])
            for name in CREDENTIAL_FIELDS
        }


class DeclaredDataSourceSerializer(DataSourceWriteSerializer):
    """A data source as it should be. Fields that are left out keep their values."""

    workspace = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="Name of the workspace. Default: the organization's first workspace.",
    )
    credentials = DeclaredCredentialsSerializer(
        required=False, allow_null=True, help_text="The username, and references to secrets."
    )

    class Meta:
        model = DataSource
        fields = ("name", "workspace", "type", *UPDATABLE_FIELDS[1:], "credentials")
        extra_kwargs = {
            "type": {
                "required": False,
                "help_text": "Required for a new data source; fixed later.",
            },
            "name": {"trim_whitespace": True},
        }


class DeclarationsSerializer(StrictSerializer):
    """The data sources that an organization should have, identified by workspace and name."""

    organization = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=63,
        help_text="Short name (`slug`) of the organization. Default: the caller's only one.",
    )
    data_sources = serializers.ListField(
        child=DeclaredDataSourceSerializer(),
        max_length=DATA_SOURCES_MAX,
        help_text="The data sources to create, change or keep.",
    )


class PlanStepSerializer(serializers.Serializer):
    """What is done with one data source."""

    action = serializers.ChoiceField(
        choices=KINDS, source="kind", help_text="What is done; `keep` means that nothing changes."
    )
    workspace = serializers.CharField(help_text="The name of its workspace.")
    name = serializers.CharField(help_text="The name of the data source.")
    type = serializers.ChoiceField(
        choices=DataSource.Type.choices, help_text="The kind of database, warehouse or file."
    )
    changes = ChangesField(help_text="What changes, by field.")


class PlanSummarySerializer(serializers.Serializer):
    """The number of steps of each kind."""

    create = serializers.IntegerField(  # type: ignore[assignment]
        help_text="How many data sources are created."
    )
    change = serializers.IntegerField(help_text="How many data sources are changed.")
    delete = serializers.IntegerField(help_text="How many data sources are deleted.")
    keep = serializers.IntegerField(help_text="How many data sources stay as they are.")


class PlanSerializer(serializers.Serializer):
    """The steps that led, or with `dry_run` would lead, to what is declared."""

    steps = PlanStepSerializer(
        many=True, help_text="One for each data source, in the order declared."
    )
    summary = PlanSummarySerializer(source="counts", help_text="The number of steps of each kind.")
