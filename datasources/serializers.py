"""Serializers of data sources: what a client may send, and what the API shows."""

import contextlib
import functools
import json
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db.models import BigIntegerField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import get_error_detail

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.models import (
    NAME_TAKEN,
    UPDATABLE_FIELDS,
    WORKSPACE_GONE,
    DataSource,
    DataSourceRevision,
)
from datasources.models.field_names import OBSERVED_FIELDS
from datasources.models.validators import (
    NAMES_SECRET,
    TAG_MAX_LENGTH,
    TAGS_MAX_COUNT,
    clean_tags,
    is_too_deep,
    names_secret,
    validate_metadata,
)
from datasources.preconditions import judge_update
from organizations.models import ROLES_WITH, Role, Workspace
from rivergen.http.serializers import (
    LONGEST_NAME_WORTH_A_SUGGESTION,
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
        if isinstance(data, list) and data == getattr(
            getattr(self.parent, "instance", None), "tags", None
        ):
            return data  # stored tags may be older than the rules for them
        tags: list[str] = run_model_validator(clean_tags, data)
        return tags


@extend_schema_field({"type": "object", "additionalProperties": {}})
class MetadataField(serializers.DictField):
    """A JSON object, stored exactly as it is sent."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        run_model_validator(validate_metadata, data)
        return data


def run_model_validator(validate: Any, value: Any) -> Any:
    """Return what a validator of the model returns. Raises its error as DRF's, with its code."""
    try:
        return validate(value)
    except ModelValidationError as error:
        raise serializers.ValidationError(get_error_detail(error)) from None


@extend_schema_field({"$ref": "#/components/schemas/Changes"})
class ChangesField(serializers.DictField):
    """What a change has changed, by field."""


@extend_schema_field({"oneOf": [{"$ref": "#/components/schemas/ConnectionTest"}, {"type": "null"}]})
class LastTestField(serializers.DictField):
    """The result of a connection test, as it was stored."""


def help_text(name: str) -> str:
    """Return the help text of a field of the model, for a serializer field in its place."""
    return str(DataSource._meta.get_field(name).help_text)  # type: ignore[union-attr]


class DataSourceSerializer(OutputSerializer):
    """A data source, without its secrets: they are never shown, nor is a mask in their place."""

    organization_id = serializers.IntegerField(
        read_only=True, help_text="The organization that the data source belongs to."
    )
    workspace_id = serializers.IntegerField(
        read_only=True, help_text="The workspace that the data source is in."
    )
    tags = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text=help_text("tags")
    )
    metadata = serializers.DictField(read_only=True, help_text=help_text("metadata"))
    last_test = LastTestField(read_only=True, help_text=help_text("last_test"))
    created_by_user_id = serializers.IntegerField(
        source="created_by_id",
        read_only=True,
        allow_null=True,
        help_text="The user who created it. Null if that user is deleted.",
    )
    updated_by_user_id = serializers.IntegerField(
        source="updated_by_id",
        read_only=True,
        allow_null=True,
        help_text="The user who updated it last. Null if that user is deleted, or a command did.",
    )

    missing_fields = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="What a connection of this type still needs, such as `host` or `file_path`: the "
        "required fields of the type that neither the field nor the connection string has. Whether "
        "secrets are set is in `credentials_status`.",
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
            "missing_fields",
        )
        read_only_fields = fields
        extra_kwargs = {"id": {"help_text": "Identifies the data source, also in paths."}}


READ_ONLY_FIELDS = frozenset(DataSourceSerializer.Meta.fields) - {*UPDATABLE_FIELDS}
READ_ONLY = "This field is read-only and has another value."


class DataSourceWriteSerializer(StrictModelSerializer):
    """The fields and rules that creating and updating have in common."""

    refused_names = READ_ONLY_FIELDS.union(CREDENTIAL_FIELDS)

    tags = TagsField(required=False, max_length=TAGS_MAX_COUNT, help_text=help_text("tags"))
    metadata = MetadataField(required=False, help_text=help_text("metadata"))

    class Meta:
        model = DataSource
        fields: tuple[str, ...] = UPDATABLE_FIELDS
        # DRF would query for unique constraints in each request; the database checks them anyway.
        validators: tuple[Any, ...] = ()

    def refuse(self, name: str, value: Any) -> None:
        is_short = len(name) <= LONGEST_NAME_WORTH_A_SUGGESTION
        is_secret = is_short and name not in READ_ONLY_FIELDS and names_secret(name)
        if name in CREDENTIAL_FIELDS or is_secret:
            raise serializers.ValidationError(
                "This field belongs to the credentials of the data source.", code=NAMES_SECRET
            )
        if name in READ_ONLY_FIELDS:
            raise serializers.ValidationError("This field is read-only.")
        raise serializers.ValidationError(unknown_name(name, self.Meta.fields))

    def add_contradictions(
        self, data_source: DataSource, values: dict[str, Any], errors: dict[str, list[Any]]
    ) -> None:
        """Add errors for valid fields that contradict each other or the stored row."""
        for field, message in data_source.contradictions(values).items():
            errors.setdefault(field, [message])
        # Check the name only to report it together with other errors: otherwise the database does.
        if errors and "name" in values and data_source.is_name_taken(values["name"]):
            errors["name"] = [NAME_TAKEN]


class DataSourceUpdateSerializer(DataSourceWriteSerializer):
    """The fields to change. Fields that are left out keep their values.

    `context["is_merge_patch"]`: merge `metadata` into the stored metadata (RFC 7396).
    `context["compares"]`: false if a precondition names another version than that of the row. Then
    only errors are reported that do not depend on the stored row.
    `context["knows_versions"]`: the caller compares `version` in the body, as a precondition.
    """

    instance: DataSource

    version = StrictIntegerField(
        required=False,
        min_value=1,
        max_value=BigIntegerField.MAX_BIGINT,
        help_text="The version that this body was read at: 412 if another one is current. It "
        "counts as `If-Match`. With it, fields that the service observes, such as `status`, may "
        "have other values than the stored ones, and are ignored.",
    )

    class Meta(DataSourceWriteSerializer.Meta):
        fields: tuple[str, ...] = (*UPDATABLE_FIELDS, "version")

    def refuse(self, name: str, value: Any) -> None:
        if name in READ_ONLY_FIELDS:
            if not self.compares or self.may_differ(name, value):
                return
            stored = self.stored[name]
            # A value that is nested too deeply to be compared is another one.
            with contextlib.suppress(RecursionError):
                # json.dumps distinguishes 1 from true and 1.0; == does not. Objects are compared
                # by ==, because many clients reorder their keys and write 1 for 1.0.
                if json.dumps(value) == json.dumps(stored):
                    return
                if isinstance(stored, dict) and value == stored:
                    return
            raise serializers.ValidationError(READ_ONLY)
        super().refuse(name, value)

    def may_differ(self, name: str, value: Any) -> bool:
        """Return whether a read-only field may have changed since the `version` in the body."""
        if "version" not in self.initial_data:
            return False
        names_user = name == "created_by_user_id" and type(value) is int and value > 0
        # The user may have been deleted since, which makes no version.
        return name in OBSERVED_FIELDS or (names_user and self.stored[name] is None)

    @property
    def compares(self) -> bool:
        """Return whether to compare the values with the stored row."""
        return bool(self.context.get("compares", True))

    @functools.cached_property
    def stored(self) -> Any:
        """The data source as `GET` shows it."""
        return DataSourceSerializer(self.instance).data

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        patch = data.get("metadata")
        is_merge = self.context.get("is_merge_patch") and isinstance(patch, dict)
        # Merging recurses. A patch that is too deep stays unmerged, and the field refuses it.
        if is_merge and not is_too_deep(patch):
            target = self.instance.metadata if self.compares else {}
            data = {**data, "metadata": merge_patch(target, patch)}
        return super().to_internal_value(data)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        version = values.pop("version", None)
        if not self.context.get("knows_versions") and version not in (None, self.instance.version):
            errors["version"] = [READ_ONLY]
        if self.compares:
            self.add_contradictions(self.instance, values, errors)


class DataSourceMergePatchSerializer(DataSourceUpdateSerializer):
    """The fields to change, as a merge patch (RFC 7396)."""

    metadata = MetadataField(
        required=False,
        help_text="Merged into the stored metadata, at each level: a member that is null is "
        "removed, and those that are left out stay (RFC 7396).",
    )


def valid_changes(
    data_source: DataSource,
    body: Mapping[str, Any],
    *,
    if_match: str | None,
    is_merge_patch: bool,
    allows_disjoint: bool = False,
) -> dict[str, Any]:
    """Return the valid changes in the body of an update of a locked data source.

    Raises, in this order: 400 for errors that do not depend on the stored row; 428 or 412 for
    `if_match`, a well-formed header, and for `version` in the body; 400 for errors that do depend
    on the row. Source: contract, section 1, order of the checks.
    """
    refusal = None
    # Most requests name no version; they are not judged.
    names_version = if_match is not None or "version" in body
    if names_version or allows_disjoint or data_source.requires_if_match:
        refusal = judge_update(data_source, body, if_match, allows_disjoint=allows_disjoint)
    serializer = DataSourceUpdateSerializer(
        data_source,
        data=body,
        partial=True,
        context={
            "is_merge_patch": is_merge_patch,
            "compares": refusal is None,
            "knows_versions": True,
        },
    )
    serializer.is_valid(raise_exception=True)
    if refusal is not None:
        raise refusal
    values: dict[str, Any] = serializer.validated_data
    # A serializer and its fields refer to each other, so until the next garbage collection it would
    # keep the row, of which an update of many has up to 200.
    serializer.instance = None  # type: ignore[assignment]
    return values


class DataSourceCreateSerializer(DataSourceWriteSerializer):
    """A new data source. A connection needs the fields that its type requires.

    `validated_data` are arguments of `DataSource`. `context["roles"]` maps the ids of the caller's
    organizations to the caller's role in each.
    """

    workspace_id = StrictIntegerField(
        required=False,
        help_text="The workspace to create it in. Default: the organization's first workspace.",
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
        # With a connection string, the default port also depends on its scheme: see
        # `DataSource.configuration`.
        if "type" in values and values.get("connection_string") is None:
            values.setdefault("port", data_source.connector.default_port)
        self.add_contradictions(data_source, values, errors)

    def find_workspace(self, workspace_id: int | None) -> Workspace | str:
        """Return the workspace to create in, or a sentence that says why there is none."""
        roles: dict[int, str] = self.context["roles"]
        if workspace_id is not None:
            workspaces = Workspace.objects.filter(pk=workspace_id, organization_id__in=roles)
            return workspaces.first() or "There is no such workspace in your organizations."
        candidates = [id for id, role in roles.items() if role in ROLES_WITH[Role.EDITOR]]
        if len(candidates) > 1:
            return "You may create data sources in several organizations. Send a workspace_id."
        return Workspace.objects.first_of(candidates[0]) or WORKSPACE_GONE


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON merge patch applied (RFC 7396, section 2); copies `target`."""
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
    """One change of a data source in its history."""

    changed_by_user_id = serializers.IntegerField(
        source="changed_by_id",
        read_only=True,
        allow_null=True,
        help_text="The user who made the change. Null for commands and jobs, and deleted users.",
    )
    changes = ChangesField(read_only=True, help_text="What changed, by field.")

    class Meta:
        model = DataSourceRevision
        fields = ("version", "changed_at", "changed_by_user_id", "origin", "request_id", "changes")
        read_only_fields = fields
