"""Who is asking: users, the organizations they belong to, and the workspaces below them."""

from collections.abc import Iterable
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from organizations.exceptions import LastOwner, LastWorkspace, WorkspaceInUse
from organizations.idempotency.models import IdempotencyRecord
from rivergen.errors import Gone
from rivergen.postgresql.constraints import unique_violation_as_validation_error

DEFAULT_WORKSPACE_NAME = "Default"


class User(AbstractUser):
    """A person or a program that signs in."""

    last_write_position = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="How far the primary's log went when the last change over HTTP was committed.",
    )

    @classmethod
    def remember_write(cls, pk: int) -> None:
        """Store that all a user has changed is before the present end of the primary's log."""
        statement = f"""
            UPDATE {cls._meta.db_table} SET last_write_position = greatest(
                last_write_position, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
            ) WHERE id = %s
        """
        with connection.cursor() as cursor:
            cursor.execute(statement, [pk])


class OrganizationQuerySet(models.QuerySet["Organization"]):
    """Many organizations: who may see them, and who may add to them at the same time."""

    def for_user(self, user: User) -> Self:
        """Restrict to the organizations of an active user; `role` is the user's in each.

        Joins the user, so that a deactivated one finds nothing, without a query of its own.
        """
        return self.filter(
            memberships__user_id=user.pk, memberships__user__is_active=True
        ).annotate(role=models.F("memberships__role"))

    def lock(self, pk: int) -> "Organization":
        """Lock an organization until the transaction ends. Raises Gone (404).

        Whoever adds to an organization or takes from it does so first, and then may lock rows below
        it: nothing is added to one that is being removed, and nobody waits in a circle.
        """
        try:
            return self.select_for_update(no_key=True).get(pk=pk)
        except Organization.DoesNotExist:
            raise Gone from None

    def bulk_create(self, objs: Iterable["Organization"], *args: Any, **options: Any) -> Any:
        """Create many, each with its default workspace."""
        with transaction.atomic():
            created = super().bulk_create(objs, *args, **options)  # type: ignore[arg-type]
            Workspace.objects.bulk_create(
                Workspace(organization=organization, name=DEFAULT_WORKSPACE_NAME)
                for organization in created
            )
        return created


class Organization(models.Model):
    """A tenant: nothing of it is visible to users who are not its members."""

    role: str  # set by `for_user`

    name = models.CharField(max_length=255)
    slug = models.SlugField(max_length=63, unique=True)
    requires_if_match = models.BooleanField(
        "requires If-Match",
        default=False,
        db_default=False,
        help_text="Changes of data sources over HTTP must say which version they are about.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new organization gets its default workspace in the same transaction."""
        is_new = self._state.adding
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new:
                self.workspaces.create(name=DEFAULT_WORKSPACE_NAME)

    def add_member(self, user: User, role: str) -> "Membership":
        """Make a user a member.

        Raises ValidationError (400) if the user is a member, also when two calls race, and Gone
        (404) if the organization was removed.
        """
        message = "The user is already a member."
        unique = unique_violation_as_validation_error("membership_unique", "username", message)
        with unique, transaction.atomic():
            Organization.objects.lock(self.pk)
            return self.memberships.create(user=user, role=role)

    def remove(self) -> None:
        """Delete the organization and all that is in it. Raises Gone (404)."""
        with transaction.atomic():
            Organization.objects.lock(self.pk)
            # An update would add to a history that is being deleted.
            list(self.data_sources.select_for_update().values_list("pk"))
            self.delete()

    def change(self, values: dict[str, Any]) -> None:
        """Store another name or policy. Raises Gone (404)."""
        for field, value in values.items():
            setattr(self, field, value)
        if not Organization.objects.filter(pk=self.pk).update(**values):
            raise Gone


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    """Many workspaces: which one is meant when none is named."""

    def first_of(self, organization_id: int | None) -> "Workspace | None":
        """Give the default workspace: the organization's first; None if there is none."""
        return self.filter(organization_id=organization_id).order_by("id").first()


class Workspace(models.Model):
    """A shelf of data sources within an organization."""

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="workspaces",
        db_index=False,  # the constraint below starts with it
    )
    name = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="workspace_name_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.organization}"

    def save_unique(self) -> None:
        """Save.

        Raises ValidationError (400) if the name is taken, also when two calls race, and Gone (404)
        if the workspace was removed.
        """
        message = "The organization has a workspace of this name."
        unique = unique_violation_as_validation_error("workspace_name_unique", "name", message)
        with unique, transaction.atomic():
            Organization.objects.lock(self.organization_id)
            if self._state.adding:
                self.save()
            elif not Workspace.objects.filter(pk=self.pk).update(name=self.name):
                raise Gone

    def remove(self) -> None:
        """Delete this workspace. Raises WorkspaceInUse and LastWorkspace (409)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            siblings = Workspace.objects.filter(organization_id=self.organization_id)
            if not siblings.exclude(pk=self.pk).exists():
                raise LastWorkspace
            try:
                with transaction.atomic():
                    self.delete()
                    # A data source that came meanwhile would fail the deferred check of the commit.
                    connection.check_constraints()
            except (models.RestrictedError, IntegrityError):
                raise WorkspaceInUse from None


class Role(models.TextChoices):
    """What a member may do; each role may all that the ones before it may (contract, 2)."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"


ROLES_WITH: dict[str, frozenset[str]] = {
    role: frozenset(Role.values[rank:]) for rank, role in enumerate(Role.values)
}
"""The roles that may do what a role may: itself, and all above it."""


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Many memberships: whose they are."""

    def for_user(self, user: User) -> Self:
        """Restrict to the memberships of an active user itself."""
        return self.filter(user_id=user.pk, user__is_active=True)

    def including(self, role: Role) -> Self:
        """Restrict to the members who may do what `role` may."""
        return self.filter(role__in=ROLES_WITH[role])


class Membership(models.Model):
    """A user's place in an organization."""

    Role = Role

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="memberships",
        db_index=False,  # the constraint below starts with it
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # Also the index by which every request finds its caller's organizations.
            models.UniqueConstraint(
                fields=["user", "organization"],
                name="membership_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.organization_id}"

    def change_role(self, role: str) -> None:
        """Give the member another role. Raises LastOwner (409) and Gone (404)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            if role != Role.OWNER:
                self._keep_an_owner()
            self.role = role
            if not Membership.objects.filter(pk=self.pk).update(role=role):
                raise Gone

    def remove(self) -> None:
        """End the membership, from the next request on. Raises LastOwner (409)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            self._keep_an_owner()
            # A former member gets no stored answer, and its keys must become free again.
            IdempotencyRecord.objects.filter(
                user_id=self.user_id, organization_id=self.organization_id
            ).delete()
            self.delete()

    def _keep_an_owner(self) -> None:
        owners = Membership.objects.filter(organization=self.organization_id, role=Role.OWNER)
        if {owner.pk for owner in owners} == {self.pk}:
            raise LastOwner
