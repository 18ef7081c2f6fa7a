"""The bodies of failures, as openapi.json describes them."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


@extend_schema_field({"$ref": "#/components/schemas/ErrorCode"})
class ErrorCodeField(serializers.CharField):
    """The code of an error."""


@extend_schema_field({"const": False})
class FalseField(serializers.BooleanField):
    """Always false."""


class ErrorInfoSerializer(serializers.Serializer):
    """The error of a failure."""

    code = ErrorCodeField(help_text="What went wrong, for programs.")
    message = serializers.CharField(help_text="One sentence for a person.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Sentences by field; empty if the error is not about a field.",
    )
    request_id = serializers.CharField(
        help_text="The id of the request, as in `X-Request-ID`. Tell it to whom you ask for help."
    )


class ErrorResponseSerializer(serializers.Serializer):
    """The envelope of every failure."""

    success = FalseField(help_text="Always false.")
    error = ErrorInfoSerializer(help_text="What went wrong.")


class ConflictingChangeSerializer(serializers.Serializer):
    """One version after the named one, as the history lists it, but without values."""

    version = serializers.IntegerField(help_text="The version that the change led to.")
    changed_at = serializers.DateTimeField(help_text="When, in UTC.")
    changed_by_user_id = serializers.IntegerField(
        allow_null=True,
        help_text="By whom; null for the service itself, for an operator, and once the user is "
        "deleted.",
    )
    origin = serializers.CharField(
        help_text="The interface through which it was made, such as `api`."
    )
    fields = serializers.ListField(  # type: ignore[assignment]
        child=serializers.CharField(), help_text="The names of what changed; of secrets too."
    )


class VersionConflictSerializer(serializers.Serializer):
    """What changed since the version that the request named. Values are in the history."""

    version = serializers.IntegerField(help_text="The current version.")
    changed_since = ConflictingChangeSerializer(
        many=True,
        help_text="The versions after the named one, the oldest first and at most 50. Empty if the "
        "named version never was one.",
    )
    overlapping = serializers.ListField(
        child=serializers.CharField(),
        help_text="The fields of this request that clash with those changes. If this is empty and "
        "`changed_since` is not, the update succeeds with `?allow_disjoint=true`.",
    )
    truncated = serializers.BooleanField(
        required=False,
        help_text="Present, and true, if there are more versions than `changed_since` lists. "
        "`overlapping` considers all of them.",
    )


class PreconditionFailedInfoSerializer(ErrorInfoSerializer):
    """The error of a 412."""

    conflict = VersionConflictSerializer(help_text="What changed since the version that was named.")


class PreconditionFailedResponseSerializer(ErrorResponseSerializer):
    """The envelope of a 412."""

    error = PreconditionFailedInfoSerializer(help_text="What went wrong.")


FAILURE_SERIALIZERS = {412: PreconditionFailedResponseSerializer}
"""The envelopes of failures that have more members than others, by status."""
