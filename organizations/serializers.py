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
    StrictNameField,
    StrictSerializer,
)
from rivergen.names import validate_visible

ROLE = "What the member may do: `viewer` reads, `editor` also changes data sources, `admin` also "
ROLE += "manages members and workspaces, `owner` may do everything."


class OwnMembershipSerializer(OutputSerializer):
    """The caller's membership in one organization."""

    organization_id = serializers.IntegerField(
        read_only=True, help_text="The organization, as other endpoints take it in their path."
    )
    organization_name = serializers.CharField(
        source="organization.name", read_only=True, help_text="The name that people see."
    )
    organization_slug = serializers.CharField(
        source="organization.slug", read_only=True, help_text="The short name, as commands take it."
    )

    class Meta:
        model = Membership
        fields = ("organization_id", "organization_name", "organization_slug", "role")
        read_only_fields = fields


class MeSerializer(OutputSerializer):
    """The caller, with the caller's memberships."""

    # Not an EmailField: a user without an address has an empty string, which is not an email.
    email = serializers.CharField(read_only=True, help_text="Empty if none is known.")
    memberships = OwnMembershipSerializer(
        many=True, read_only=True, help_text="One for each organization; empty if there is none."
    )

    class Meta:
        model = User
        fields = ("id", "username", "email", "first_name", "last_name", "memberships")
        read_only_fields = fields
        extra_kwargs = {
            "id": {"help_text": "Identifies the user. Members have it as `user_id`."},
            "username": {"help_text": "The name to sign in with."},
            "first_name": {"help_text": "Empty if it is not known."},
            "last_name": {"help_text": "Empty if it is not known."},
        }


class OrganizationSerializer(OutputSerializer):
    """An organization, with the caller's role in it."""

    role = serializers.ChoiceField(
        choices=Role.choices, read_only=True, help_text="The caller's role in this organization."
    )

    class Meta:
        model = Organization
        fields = ("id", "name", "slug", "role", "requires_if_match", "created_at")
        read_only_fields = fields
        extra_kwargs = {"id": {"help_text": "Identifies the organization."}}


class OrganizationUpdateSerializer(StrictModelSerializer):
    """The properties of an organization to change. Those that are left out keep their values."""

    name = StrictNameField(
        max_length=255,
        validators=[validate_visible],
        help_text="The name that people see. Spaces around it are removed, and it is stored in "
        "Unicode's form NFC. Invisible characters are refused.",
    )
    requires_if_match = StrictBooleanField(
        help_text="If true, changes of data sources without `If-Match` are refused with 428."
    )

    class Meta:
        model = Organization
        fields = ("name", "requires_if_match")
        validators: tuple[Any, ...] = ()


class MemberSerializer(OutputSerializer):
    """A member of an organization."""

    user_id = serializers.IntegerField(
        read_only=True, help_text="The user, as the path of a member has it."
    )
    username = serializers.CharField(
        source="user.username", read_only=True, help_text="The name that the user signs in with."
    )

    class Meta:
        model = Membership
        fields = ("user_id", "username", "role", "created_at")
        read_only_fields = fields


class MemberCreateSerializer(StrictSerializer):
    """A user to add to the organization, and the role to give."""

    username = StrictCharField(max_length=150, help_text="The username of an active user.")
    role = StrictChoiceField(choices=Role.choices, help_text=ROLE)

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        username = values.pop("username", None)
        if username is not None:
            values["user"] = User.objects.filter(
                username=User.normalize_username(username), is_active=True
            ).first()
            if values["user"] is None:
                errors["username"] = ["There is no active user with this name."]


class MemberUpdateSerializer(StrictSerializer):
    """The new role of a member."""

    role = StrictChoiceField(choices=Role.choices, help_text=ROLE)


class WorkspaceSerializer(OutputSerializer):
    """A workspace of an organization: each data source is in one."""

    organization_id = serializers.IntegerField(
        read_only=True, help_text="The organization that the workspace belongs to."
    )

    class Meta:
        model = Workspace
        fields = ("id", "organization_id", "name", "created_at")
        read_only_fields = fields
        extra_kwargs = {
            "id": {"help_text": "Identifies the workspace. Data sources have it as `workspace_id`."}
        }


class WorkspaceWriteSerializer(StrictSerializer):
    """The name of a workspace."""

    name = StrictNameField(
        max_length=255,
        validators=[validate_visible],
        help_text="Unique in the organization. Spaces around it are removed, and it is stored in "
        "Unicode's form NFC. Invisible characters are refused.",
    )
