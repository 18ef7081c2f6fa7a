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


@extend_schema_field({"$ref": "#/components/schemas/VersionConflict"})
class ConflictField(serializers.DictField):
    """What changed since the version that a request named."""


class PreconditionFailedInfoSerializer(ErrorInfoSerializer):
    """The error of a 412."""

    conflict = ConflictField(help_text="What changed since the version that was named.")


class PreconditionFailedResponseSerializer(serializers.Serializer):
    """The envelope of a 412."""

    success = FalseField(help_text="Always false.")
    error = PreconditionFailedInfoSerializer(help_text="What went wrong.")


FAILURE_SERIALIZERS = {412: PreconditionFailedResponseSerializer}
"""The envelopes of failures that have more members than others, by status."""
