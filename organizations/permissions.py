"""Permissions: membership of an organization, and the role in it (403)."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from organizations.authentication import NO_TOKEN, REVOKED, caller
from organizations.models import ROLES_WITH, Membership, Role, User
from rivergen.http.exceptions import InvalidToken


class IsAuthenticated(BasePermission):
    """Refuse callers without a token (401). Makes no database query.

    For views that fetch rows with `for_user`: it finds no rows for users who are deactivated or
    belong to no organization. Only then the views call `require_membership`, to choose the error.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not (request.user and request.user.is_authenticated):
            raise NotAuthenticated(NO_TOKEN)
        return True


class IsOrganizationMember(IsAuthenticated):
    """Refuse callers without a token (401) and users of no organization (403). Makes one query."""

    def has_permission(self, request: Request, view: Any) -> bool:
        super().has_permission(request, view)
        require_membership(caller(request))
        return True


def require_membership(user: User) -> None:
    """Raise 401 or 403 unless `user` is active and belongs to an organization.

    InvalidToken (401) if the user is deactivated or deleted, PermissionDenied (403) if the user is
    a member of no organization.
    """
    memberships = Membership.objects.filter(user_id=OuterRef("pk"))
    is_member = (
        User.objects.filter(pk=user.pk, is_active=True)
        .values_list(Exists(memberships), flat=True)
        .first()
    )
    if is_member is None:
        raise InvalidToken(REVOKED)
    if not is_member:
        raise PermissionDenied("You are not a member of any organization.")


def require_role(role: str, required: Role) -> None:
    """Raise PermissionDenied (403) unless `role` includes `required`."""
    if role not in ROLES_WITH[required]:
        raise role_refusal(role, required)


def role_refusal(role: str, required: Role) -> PermissionDenied:
    """Return the error (403) for a caller whose `role` does not include `required`."""
    return PermissionDenied(f"This needs the role {required}; yours is {role}.")


def require_role_anywhere(roles: Iterable[str], required: Role) -> None:
    """Raise PermissionDenied (403) unless one of the caller's `roles` includes `required`."""
    if ROLES_WITH[required].isdisjoint(roles):
        raise PermissionDenied(f"This needs the role {required} in some organization.")
