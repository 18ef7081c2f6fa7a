"""Memberships and roles, and the rule that an organization keeps an owner."""

from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from organizations.exceptions import LastOwner
from organizations.idempotency.models import IdempotencyRecord, KeptAnswers
from organizations.models.organization import Organization
from organizations.models.user import User
from rivergen.errors import Gone
from rivergen.strict_fields import StrictCharField


class Role(models.TextChoices):
    """The roles of members. Each role includes the ones before it (contract, section 2)."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"


ROLES_WITH: dict[str, frozenset[str]] = {
    role: frozenset(Role.values[rank:]) for rank, role in enumerate(Role.values)
}
"""For each role, the roles that include it: itself and those after it."""


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships: those of a user, or those with a role."""

    def for_user(self, user: User) -> Self:
        """Restrict to the memberships of an active user."""
        return self.filter(user_id=user.pk, user__is_active=True)

    def including(self, role: Role) -> Self:
        """Restrict to members whose role includes `role`."""
        return self.filter(role__in=ROLES_WITH[role])

    def require_other_owners(self) -> None:
        """Raise LastOwner (409) if an organization has no other owner who can sign in than these.

        Locks the organizations of the owners among these until the transaction ends.
        """
        going = [*self.filter(role=Role.OWNER).values_list("pk", "organization")]
        if not going:
            return
        ids = sorted({organization_id for _, organization_id in going})
        others = Membership.objects.filter(role=Role.OWNER, user__is_active=True)
        others = others.exclude(pk__in=[pk for pk, _ in going]).filter(organization__in=ids)
        with transaction.atomic():
            names = {pk: Organization.objects.lock(pk).name for pk in ids}
            kept = {*others.values_list("organization", flat=True)}
        if ownerless := [name for pk, name in names.items() if pk not in kept]:
            raise LastOwner(*ownerless)


def keep_owners(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Delete the memberships of a deleted user, unless one is that of the last owner.

    `on_delete` of the user, so that it holds however the user is deleted. Raises LastOwner (409).
    """
    Membership.objects.filter(pk__in=sub_objs.values("pk")).require_other_owners()
    models.CASCADE(collector, field, sub_objs, using)


keep_owners.lazy_sub_objs = True  # type: ignore[attr-defined]  # a queryset, not a list


class Membership(models.Model):
    """The membership of a user in an organization, with a role."""

    Role = Role

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=keep_owners,
        related_name="memberships",
        db_index=False,  # the index of the constraint below serves
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    role = StrictCharField(
        max_length=16,
        choices=Role.choices,
        default=Role.VIEWER,
        help_text="What the member may do. Each role includes the ones before it: viewer, editor, "
        "admin, owner.",
    )
    created_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When the user became a member."
    )

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # The index of this constraint finds the caller's organizations in every request.
            models.UniqueConstraint(
                fields=["user", "organization"],
                name="membership_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.organization_id}"

    def save(self, *args: Any, **options: Any) -> None:
        """Save the membership. Raises ValidationError (400) or LastOwner (409)."""
        self.clean_fields(exclude=["user", "organization"])
        with transaction.atomic():
            if not self._state.adding and self.role != Role.OWNER:
                Membership.objects.filter(pk=self.pk).require_other_owners()
            super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete the membership. Raises LastOwner (409) if it is that of the last owner."""
        with transaction.atomic():
            Membership.objects.filter(pk=self.pk).require_other_owners()
            return super().delete(*args, **options)

    def change_role(self, role: str) -> None:
        """Store a new role. Raises ValidationError (400), LastOwner (409) or Gone (404)."""
        self.role = role
        self.clean_fields(exclude=["user", "organization"])
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            stored = Membership.objects.filter(pk=self.pk)
            if role != Role.OWNER:
                stored.require_other_owners()
            if not stored.update(role=self.role):
                raise Gone

    def remove(self) -> None:
        """Delete the membership, effective from the next request on. Raises LastOwner (409)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            # A former member may not see the stored answers, and the keys must become free again.
            for model in (IdempotencyRecord, KeptAnswers):
                model.objects.filter(
                    user_id=self.user_id, organization_id=self.organization_id
                ).delete()
            self.delete()
