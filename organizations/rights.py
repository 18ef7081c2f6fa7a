"""What a user may do, and whether others may do more.

Nobody gives, changes or takes away a right that they do not have: the pages of the admin check
this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from organizations.models import ROLES_WITH, Membership, Role, User


@dataclass(frozen=True)
class Rights:
    """The rights of one user: all of them, or these permissions and roles."""

    is_superuser: bool
    permission_ids: frozenset[int]
    roles: Mapping[int, str]
    """The role in each organization, by its id."""

    @classmethod
    def of(cls, user: User) -> Self:
        """Read the rights of a user: permissions of the user and of groups, and roles."""
        held = Permission.objects.filter(Q(user=user) | Q(group__user=user))
        roles = user.memberships.values_list("organization_id", "role")
        return cls(user.is_superuser, frozenset(held.values_list("pk", flat=True)), dict(roles))

    def permissions(self) -> QuerySet[Permission]:
        """Return the permissions that may be given to others: those held."""
        every = Permission.objects.all()
        return every if self.is_superuser else every.filter(pk__in=self.permission_ids)

    def groups(self) -> QuerySet[Group]:
        """Return the groups that may be given to others: without a permission that is not held."""
        return Group.objects.exclude(permissions__in=self._permissions_above())

    def include_role(self, organization_id: int, role: str) -> bool:
        """Return whether the role in an organization is at least `role`."""
        return self.is_superuser or self.roles.get(organization_id) in ROLES_WITH[role]

    def include_those_of(self, users: QuerySet[User]) -> bool:
        """Return whether none of `users` has a right above these.

        Deactivated users keep their rights here: somebody may activate them again.
        """
        return self.is_superuser or not users.filter(self._is_above()).exists()

    def _is_above(self) -> Q:
        """Return the condition for users with a right that is not among these."""
        permissions: Any = self._permissions_above()
        reached = Q(pk__in=())
        for organization_id, own_role in self.roles.items():
            lower = [role for role in Role.values if own_role in ROLES_WITH[role]]
            reached |= Q(organization_id=organization_id, role__in=lower)
        return (
            Q(is_superuser=True)
            | Q(user_permissions__in=permissions)
            | Q(groups__permissions__in=permissions)
            | Q(memberships__in=Membership.objects.exclude(reached))
        )

    def _permissions_above(self) -> QuerySet[Permission]:
        return Permission.objects.exclude(pk__in=self.permissions())


def rights_of_staff(request: HttpRequest) -> Rights:
    """Return the rights of the user who is signed in to the admin."""
    assert isinstance(request.user, User)
    return Rights.of(request.user)
