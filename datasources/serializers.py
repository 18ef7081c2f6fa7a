"""What a client may send of a data source, and what it may see."""

import functools
import json
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.models import (
    NAME_TAKEN,
    UPDATABLE_FIELDS,
    WORKSPACE_GONE,
    DataSource,
    DataSourceRevision,
)
from datasources.models.validators import (
    TAG_MAX_LENGTH,
    TAGS_MAX_COUNT,
    is_too_deep,
    names_secret,
    validate_metadata,
    validate_tags,
)
from organizations.models import ROLES_WITH, Role, Workspace
from rivergen.http.serializers import (
    OutputSerializer,
    StrictIntegerField,
    StrictModelSerializer,
    unknown_name,
)


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": TAG_MAX_LENGTH, "format": "tag"},
        "maxItems": TAGS_MAX_COUNT,
        "uniqueItems": True,
    }
)
class TagsField(serializers.ListField):
    """An array of different strings, trimmed, in the order given."""

    child = serializers.CharField(max_length=TAG_MAX_LENGTH)

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            raise serializers.ValidationError("Must be an array of strings.")
        tags = [tag.strip() if isinstance(tag, str) else tag for tag in data]
        run_model_validator(validate_tags, tags)
        return tags


@extend_schema_field({"type": "object", "propertyNames": {"format": "metadata-key"}})
class MetadataField(serializers.DictField):
    """A JSON object, kept to the letter."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        run_model_validator(validate_metadata, data)
        return data


def run_model_validator(validate: Any, value: Any) -> None:
    """Run a validator of the model; its error becomes one of the serializer's."""
    try:
        validate(value)
    except ModelValidationError as error:
        raise serializers.ValidationError(error.messages) from None


class DataSourceSerializer(OutputSerializer):
    """A data source as a client sees it: no secret, and no mask for one."""

    organization_id = serializers.IntegerField(read_only=True)
    workspace_id = serializers.IntegerField(read_only=True)
    tags = serializers.ListField(child=serializers.CharField(), read_only=True)
    metadata = serializers.DictField(read_only=True)
    last_test = serializers.DictField(
        read_only=True,
        allow_null=True,
        help_text="The result of the last connection test, of whatever `version`.",
    )
    created_by_user_id = serializers.IntegerField(
        source="created_by_id", read_only=True, allow_null=True
    )
    updated_by_user_id = serializers.IntegerField(
        source="updated_by_id", read_only=True, allow_null=True
    )

    class Meta:
        model = DataSource
        fields = (
            "id",
            "organization_id",
            "workspace_id",
            "name",
            "type",
            *UPDATABLE_FIELDS[1:],  # all but the name
            "ssh_host_key",
            "status",
            "credentials_status",
            "schema_status",
            "schema_refreshed_at",
            "schema_next_refresh_at",
            "last_test",
            "version",
            "created_at",
            "updated_at",
            "created_by_user_id",
            "updated_by_user_id",
        )
        read_only_fields = fields


READ_ONLY_FIELDS = frozenset(DataSourceSerializer.Meta.fields) - {*UPDATABLE_FIELDS}


class DataSourceWriteSerializer(StrictModelSerializer):
    """What creating and updating have in common."""

    refused_names = READ_ONLY_FIELDS.union(CREDENTIAL_FIELDS)

    tags = TagsField(required=False, max_length=TAGS_MAX_COUNT)
    metadata = MetadataField(
        required=False,
        help_text="At most 65,536 bytes as compact JSON and 20 levels deep; no key names a secret.",
    )

    class Meta:
        model = DataSource
        fields: tuple[str, ...] = UPDATABLE_FIELDS
        extra_kwargs = {"name": {"trim_whitespace": True}}
        # DRF would look for unique constraints, in each request; the database tells.
        validators: tuple[Any, ...] = ()

    def refuse(self, name: str, value: Any) -> None:
        if name in CREDENTIAL_FIELDS or (name not in READ_ONLY_FIELDS and names_secret(name)):
            raise serializers.ValidationError(
                "Credentials are set apart from the rest: "
                "PUT /api/v1/data-sources/{data_source_id}/credentials."
            )
        if name in READ_ONLY_FIELDS:
            raise serializers.ValidationError("This field is read-only.")
        raise serializers.ValidationError(unknown_name(name, self.Meta.fields))

    def add_contradictions(
        self, data_source: DataSource, values: dict[str, Any], errors: dict[str, list[Any]]
    ) -> None:
        """Add what the fields, each valid by itself, break together and with the stored row."""
        for field, message in data_source.contradictions(values).items():
            errors.setdefault(field, [message])
        # A valid request needs no query for this: the database tells when the row is written.
        if errors and "name" in values and data_source.is_name_taken(values["name"]):
            errors["name"] = [NAME_TAKEN]


class DataSourceUpdateSerializer(DataSourceWriteSerializer):
    """All fields are optional; only the given ones change.

    `context["is_merge_patch"]`: `metadata` is merged into the stored one (RFC 7396).
    `context["compares"]`: false if `If-Match` names another version than the row's, so that only
    faults count that need no stored row.
    """

    instance: DataSource

    def refuse(self, name: str, value: Any) -> None:
        if name in READ_ONLY_FIELDS:
            if not self.compares:
                return
            stored = self.stored[name]
            # json.dumps tells 1 from true and from 1.0, which == does not. Objects compare by ==:
            # many clients reorder their keys and write 1 for 1.0.
            if json.dumps(value) == json.dumps(stored):
                return
            if isinstance(stored, dict) and value == stored:
                return
            raise serializers.ValidationError("This field is read-only and has another value.")
        super().refuse(name, value)

    @property
    def compares(self) -> bool:
        """Whether the values are compared with the stored row."""
        return bool(self.context.get("compares", True))

    @functools.cached_property
    def stored(self) -> Any:
        """The data source as `GET` shows it."""
        return DataSourceSerializer(self.instance).data

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        patch = data.get("metadata")
        is_merge = self.context.get("is_merge_patch") and isinstance(patch, dict)
        # A patch that is too deep is refused unmerged, by the field: merging would recurse.
        if is_merge and not is_too_deep(patch):
            target = self.instance.metadata if self.compares else {}
            data = {**data, "metadata": merge_patch(target, patch)}
        return super().to_internal_value(data)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        if self.compares:
            self.add_contradictions(self.instance, values, errors)


class DataSourceCreateSerializer(DataSourceWriteSerializer):
    """A new data source; `validated_data` are the arguments of one.

    `context["roles"]` maps the ids of the caller's organizations to its role in each.
    """

    workspace_id = StrictIntegerField(
        required=False, help_text="Default: the first of the organization."
    )

    class Meta(DataSourceWriteSerializer.Meta):
        fields: tuple[str, ...] = ("workspace_id", "type", *UPDATABLE_FIELDS)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        if "workspace_id" not in errors:
            workspace = self.find_workspace(values.pop("workspace_id", None))
            if isinstance(workspace, str):
                errors["workspace_id"] = [workspace]
            else:
                values["workspace"] = workspace
        data_source = DataSource(**values)
        # Of a connection string it depends on the scheme, too, and is found when it is needed.
        if "type" in values and values.get("connection_string") is None:
            values.setdefault("port", data_source.connector.default_port)
        self.add_contradictions(data_source, values, errors)

    def find_workspace(self, workspace_id: int | None) -> Workspace | str:
        """Find the workspace to create in; or say why there is none."""
        roles: dict[int, str] = self.context["roles"]
        if workspace_id is not None:
            workspaces = Workspace.objects.filter(pk=workspace_id, organization_id__in=roles)
            return workspaces.first() or "There is no such workspace in your organizations."
        candidates = [id for id, role in roles.items() if role in ROLES_WITH[Role.EDITOR]]
        if len(candidates) > 1:
            return "You may create in several organizations; name the workspace."
        return Workspace.objects.first_of(candidates[0]) or WORKSPACE_GONE


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396, section 2) to `target`, which stays as it is."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


class DataSourceRevisionSerializer(OutputSerializer):
    """One change of a data source."""

    changed_by_user_id = serializers.IntegerField(
        source="changed_by_id", read_only=True, allow_null=True
    )
    changes = serializers.DictField(read_only=True, help_text='`{field: {"from", "to"}}`')

    class Meta:
        model = DataSourceRevision
        fields = ("version", "changed_at", "changed_by_user_id", "origin", "request_id", "changes")
        read_only_fields = fields
