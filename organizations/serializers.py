"""Serializers of users, organizations, members and workspaces."""

from typing import Any

from rest_framework import serializers

from organizations.models import Membership, Organization, Role, User, Workspace
from rivergen.http.serializers import (
    OutputSerializer,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictModelSerializer,
    StrictSerializer,
)


class OwnMembershipSerializer(OutputSerializer):
    """A membership as its user sees it."""

    organization_id = serializers.IntegerField(read_only=True)
    organization_name = serializers.CharField(source="organization.name", read_only=True)
    organization_slug = serializers.CharField(source="organization.slug", read_only=True)

    class Meta:
        model = Membership
        fields = ("organization_id", "organization_name", "organization_slug", "role")
        read_only_fields = fields


class MeSerializer(OutputSerializer):
    """The caller, with the caller's memberships."""

    # Not an EmailField: a user without an address has an empty string, which is not an email.
    email = serializers.CharField(read_only=True)
    memberships = OwnMembershipSerializer(many=True, read_only=True)

    class Meta:
        model = User
        fields = ("id", "username", "email", "first_name", "last_name", "memberships")
        read_only_fields = fields


class OrganizationSerializer(OutputSerializer):
    """An organization, with the caller's `role` in it."""

    role = serializers.ChoiceField(choices=Role.choices, read_only=True)

    class Meta:
        model = Organization
        fields = ("id", "name", "slug", "role", "requires_if_match", "created_at")
        read_only_fields = fields


class OrganizationUpdateSerializer(StrictModelSerializer):
    """The body of `PATCH /organizations/{id}`."""

    name = StrictCharField(max_length=255, trim_whitespace=True)
    requires_if_match = StrictBooleanField()

    class Meta:
        model = Organization
        fields = ("name", "requires_if_match")
        validators: tuple[Any, ...] = ()


class MemberSerializer(OutputSerializer):
    """A member of an organization."""

    user_id = serializers.IntegerField(read_only=True)
    username = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = Membership
        fields = ("user_id", "username", "role", "created_at")
        read_only_fields = fields


class MemberCreateSerializer(StrictSerializer):
    """The body of `POST /organizations/{id}/members`: a user, by username, and a role."""

    username = StrictCharField(max_length=150)
    role = StrictChoiceField(choices=Role.choices)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        username = values.pop("username", None)
        if username is not None:
            values["user"] = User.objects.filter(username=username, is_active=True).first()
            if values["user"] is None:
                errors["username"] = ["There is no active user with this name."]


class MemberUpdateSerializer(StrictSerializer):
    """The body of `PATCH /organizations/{id}/members/{user_id}`."""

    role = StrictChoiceField(choices=Role.choices)


class WorkspaceSerializer(OutputSerializer):
    """A workspace of an organization."""

    organization_id = serializers.IntegerField(read_only=True)

    class Meta:
        model = Workspace
        fields = ("id", "organization_id", "name", "created_at")
        read_only_fields = fields


class WorkspaceWriteSerializer(StrictSerializer):
    """The body of `POST …/workspaces` and `PATCH …/workspaces/{workspace_id}`."""

    name = StrictCharField(max_length=255, trim_whitespace=True)
