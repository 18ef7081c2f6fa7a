"""Bodies of requests about many data sources, described for openapi.json."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasources.bulk.input import UPDATES_MAX
from datasources.serializers import (
    ChangesField,
    DataSourceMergePatchSerializer,
    DataSourceSerializer,
    DataSourceUpdateSerializer,
)
from rivergen.http.openapi.errors import (
    ErrorInfoSerializer,
    ErrorResponseSerializer,
    VersionConflictSerializer,
)
from rivergen.http.serializers import StrictCharField, StrictIntegerField, StrictSerializer


@extend_schema_field({"type": "string", "format": "entity-tag"})
class EntityTagField(StrictCharField):
    """An entity tag, as `If-Match` takes it."""


class OneUpdateMixin(serializers.Serializer):
    """The members of one of many updates beside the fields to change."""

    id = StrictIntegerField(min_value=1, help_text="The data source to change.")
    if_match = EntityTagField(
        required=False,
        help_text='The `ETag` of the version you read, such as `"3"`. If another is current, this '
        "update fails with 412.",
    )


class OneDataSourceUpdateSerializer(OneUpdateMixin, DataSourceUpdateSerializer):
    """The fields of one data source to change. Fields that are left out keep their values."""

    class Meta(DataSourceUpdateSerializer.Meta):
        fields = ("id", "if_match", *DataSourceUpdateSerializer.Meta.fields)
        extra_kwargs = {"name": {"trim_whitespace": True, "required": False}}


class OneDataSourceMergePatchSerializer(OneUpdateMixin, DataSourceMergePatchSerializer):
    """The fields of one data source to change, as a merge patch (RFC 7396)."""

    class Meta(OneDataSourceUpdateSerializer.Meta):
        pass


def updates_of(serializer: type[OneUpdateMixin]) -> serializers.ListField:
    """Return the field for updates that this serializer describes."""
    return serializers.ListField(
        child=serializer(),
        min_length=1,
        max_length=UPDATES_MAX,
        help_text="One for each data source. No data source may be named twice.",
    )


class DataSourcesUpdateSerializer(StrictSerializer):
    """The updates of many data sources."""

    required_in_patch = ("updates",)

    updates = updates_of(OneDataSourceUpdateSerializer)


class DataSourcesMergePatchSerializer(StrictSerializer):
    """The updates of many data sources, as merge patches (RFC 7396)."""

    required_in_patch = ("updates",)

    updates = updates_of(OneDataSourceMergePatchSerializer)


class UpdateErrorSerializer(ErrorInfoSerializer):
    """Why one of many updates failed."""

    conflict = VersionConflictSerializer(
        required=False, help_text="What changed since the version that was named, if that failed."
    )


class UpdateResultSerializer(serializers.Serializer):
    """What one of many updates led to."""

    id = serializers.IntegerField(help_text="The data source.")
    status = serializers.IntegerField(
        help_text="The status that this update alone would have. 424: it is valid, and was not "
        "stored because another one failed."
    )
    data = DataSourceSerializer(  # type: ignore[assignment]
        required=False, help_text="The data source after the update, if it succeeded."
    )
    changes = ChangesField(
        required=False, help_text="What differs now, by field, if the update succeeded."
    )
    error = UpdateErrorSerializer(
        required=False, help_text="What went wrong, if the update failed."
    )


class UpdatesFailedInfoSerializer(ErrorInfoSerializer):
    """The error of many updates of which some failed."""

    results = UpdateResultSerializer(
        many=True, required=False, help_text="One for each update, in their order."
    )


class UpdatesFailedResponseSerializer(ErrorResponseSerializer):
    """The envelope of many updates of which some failed."""

    error = UpdatesFailedInfoSerializer(help_text="What went wrong.")
