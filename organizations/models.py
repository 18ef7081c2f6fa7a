"""Who is asking: users, the organizations they belong to, and the workspaces below them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, connection, models, transaction
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone

from rivergen.http.exceptions import Conflict
from rivergen.postgresql.constraints import unique

DEFAULT_WORKSPACE_NAME = "Default"
ANSWERS_KEPT_FOR = timedelta(days=1)


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
        """Lock an organization until the transaction ends. Raises Http404 if it is gone.

        Whoever adds to an organization or takes from it does so first, and then may lock rows below
        it: nothing is added to one that is being removed, and nobody waits in a circle.
        """
        return get_object_or_404(self.select_for_update(no_key=True), pk=pk)

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

        Raises ValidationError (400) if it is one already, also when two calls race, and Http404 if
        the organization was removed meanwhile.
        """
        message = "The user is already a member."
        with unique("membership_unique", "username", message), transaction.atomic():
            Organization.objects.lock(self.pk)
            return self.memberships.create(user=user, role=role)

    def remove(self) -> None:
        """Delete the organization and all that is in it. Raises Http404 if it was meanwhile."""
        with transaction.atomic():
            Organization.objects.lock(self.pk)
            # An update would add to a history that is being deleted.
            list(self.data_sources.select_for_update().values_list("pk"))
            self.delete()

    def change(self, values: dict[str, Any]) -> None:
        """Store another name or policy. Raises Http404 if it was removed meanwhile."""
        for field, value in values.items():
            setattr(self, field, value)
        if not Organization.objects.filter(pk=self.pk).update(**values):
            raise Http404


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

        Raises ValidationError (400) if the name is taken, also when two calls race, and Http404 if
        the workspace was removed meanwhile.
        """
        message = "The organization has a workspace of this name."
        with unique("workspace_name_unique", "name", message), transaction.atomic():
            Organization.objects.lock(self.organization_id)
            if self._state.adding:
                self.save()
            elif not Workspace.objects.filter(pk=self.pk).update(name=self.name):
                raise Http404

    def remove(self) -> None:
        """Delete this workspace. Raises Conflict (409) if it is in use, or the last one."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            siblings = Workspace.objects.filter(organization_id=self.organization_id)
            if not siblings.exclude(pk=self.pk).exists():
                raise Conflict("An organization keeps at least one workspace.")
            try:
                with transaction.atomic():
                    self.delete()
                    # A data source that came meanwhile would fail the deferred check of the commit.
                    connection.check_constraints()
            except (models.RestrictedError, IntegrityError):
                raise Conflict("The workspace still has data sources.") from None


class Role(models.TextChoices):
    """What a member may do; each role may all that the ones before it may (contract, 2)."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    def includes(self, other: str) -> bool:
        """Whether this role may do what `other` may."""
        ranks = Role.values
        return ranks.index(self) >= ranks.index(other)


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Many memberships: whose they are."""

    def for_user(self, user: User) -> Self:
        """Restrict to the memberships of an active user itself."""
        return self.filter(user_id=user.pk, user__is_active=True)

    def including(self, role: Role) -> Self:
        """Restrict to the members who may do what `role` may."""
        return self.filter(role__in=[other for other in Role if other.includes(role)])


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
        """Give the member another role. Raises Conflict (409) for the last owner."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            if role != Role.OWNER:
                self._keep_an_owner()
            self.role = role
            if not Membership.objects.filter(pk=self.pk).update(role=role):
                raise Http404  # removed meanwhile

    def remove(self) -> None:
        """End the membership, from the next request on; Conflict (409) for the last owner."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            self._keep_an_owner()
            # They are not shown any more, and would keep their keys from being used again.
            KeptAnswer.objects.filter(
                user_id=self.user_id, organization_id=self.organization_id
            ).delete()
            self.delete()

    def _keep_an_owner(self) -> None:
        owners = Membership.objects.filter(organization=self.organization_id, role=Role.OWNER)
        if {owner.pk for owner in owners} == {self.pk}:
            raise Conflict("An organization keeps at least one owner.")


class KeptAnswer(models.Model):
    """What a request with an `Idempotency-Key` was answered, to be answered again.

    Of the request itself there is a keyed digest only: its body may have secrets.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,  # the constraint below starts with it
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    status = models.SmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    kept_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="kept_answer_unique")]

    def __str__(self) -> str:
        return f"{self.status} to {self.user_id} for {self.key}"

    @classmethod
    def kept_since(cls) -> CombinedExpression:
        """Give when the oldest answers came to be that count, by the clock of the database."""
        return Now() - ANSWERS_KEPT_FOR

    @classmethod
    def delete_outdated(cls) -> None:
        """Delete those that were kept long enough."""
        cls.objects.filter(kept_at__lte=cls.kept_since()).delete()
