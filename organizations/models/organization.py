"""Organizations and their workspaces."""

from collections.abc import Iterable
from typing import Any, Self

from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from organizations.exceptions import LastWorkspace, QuotaExceeded, WorkspaceInUse
from organizations.models.user import User
from rivergen.errors import Gone
from rivergen.names import NameField, validate_visible
from rivergen.postgresql.constraints import unique_violation_as_validation_error
from rivergen.strict_fields import (
    StrictBooleanField,
    StrictPositiveBigIntegerField,
)

DEFAULT_WORKSPACE_NAME = "Default"


def quota_field(default: str) -> StrictPositiveBigIntegerField:
    """Return the column of an organization's own quota; `default` is a setting."""
    text = f"Empty: {default}."
    return StrictPositiveBigIntegerField(null=True, blank=True, help_text=text)


class OrganizationQuerySet(models.QuerySet["Organization"]):
    """Organizations: which ones a user may see, and the lock that changes below them take."""

    def for_user(self, user: User) -> Self:
        """Restrict to the organizations of an active user; annotates `role`, the user's in each.

        Joins the user, so that a deactivated user finds nothing, without an extra query.
        """
        return self.filter(
            memberships__user_id=user.pk, memberships__user__is_active=True
        ).annotate(role=models.F("memberships__role"))

    def with_quotas(self) -> Self:
        """Restrict to organizations that have a quota of their own."""
        names = ("data_sources", "history_bytes", "kept_answer_bytes", "schema_bytes")
        return self.exclude(**{f"quota_{name}__isnull": True for name in names})

    def lock(self, pk: int) -> "Organization":
        """Lock an organization until the transaction ends. Raises Gone (404).

        Every transaction that adds to an organization or removes from it takes this lock first,
        and locks rows below it afterwards. So nothing is added while the organization is being
        removed, and the fixed order prevents deadlocks.
        """
        try:
            return self.select_for_update(no_key=True).get(pk=pk)
        except Organization.DoesNotExist:
            raise Gone from None

    def bulk_create(self, objs: Iterable["Organization"], *args: Any, **options: Any) -> Any:
        """Create organizations, each with its default workspace."""
        with transaction.atomic():
            created = super().bulk_create(objs, *args, **options)  # type: ignore[arg-type]
            Workspace.objects.bulk_create(
                Workspace(organization=organization, name=DEFAULT_WORKSPACE_NAME)
                for organization in created
            )
        return created


class Organization(models.Model):
    """A tenant. Users who are not its members see nothing of it."""

    role: str  # set by `for_user`

    name = NameField(
        max_length=255, validators=[validate_visible], help_text="The name that people see."
    )
    slug = models.SlugField(
        max_length=63,
        unique=True,
        help_text="The short name, unique in this service. Commands and declarations use it.",
    )
    requires_if_match = StrictBooleanField(
        "requires If-Match",
        default=False,
        db_default=False,
        help_text="Changes of data sources over HTTP must name the version they are based on, in "
        "If-Match.",
    )
    quota_data_sources = quota_field("QUOTA_DATA_SOURCES")
    quota_history_bytes = quota_field("QUOTA_HISTORY_BYTES")
    quota_kept_answer_bytes = quota_field("QUOTA_KEPT_ANSWER_BYTES")
    quota_schema_bytes = quota_field("QUOTA_SCHEMA_BYTES")
    created_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When the organization was created."
    )

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the organization; a new one gets its default workspace in the same transaction.

        Raises ValidationError (400).
        """
        self.clean_fields()
        is_new = self._state.adding
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new:
                self.workspaces.create(name=DEFAULT_WORKSPACE_NAME)

    def quota(self, name: str) -> int:
        """Return how many of `name`, a key of `QUOTAS`, the organization may have."""
        own: int | None = getattr(self, f"quota_{name}", None)
        default: int = getattr(settings, f"QUOTA_{name.upper()}")
        return default if own is None else own

    def check_quota(self, name: str, used: int) -> None:
        """Raise QuotaExceeded (409) if `used` is more of `name` than the organization may have."""
        if used > (limit := self.quota(name)):
            raise QuotaExceeded(name, limit)

    def add_member(self, user: User, role: str) -> Any:
        """Create the membership of a user.

        Raises ValidationError (400) if the user is already a member, also when two calls race.
        Raises Gone (404) if the organization was removed, and QuotaExceeded (409).
        """
        message = "The user is already a member."
        unique = unique_violation_as_validation_error("membership_unique", "username", message)
        with unique, transaction.atomic():
            Organization.objects.lock(self.pk)
            member = self.memberships.create(user=user, role=role)
            self.check_quota("members", self.memberships.count())
            return member

    def remove(self) -> None:
        """Delete the organization and everything in it. Raises Gone (404)."""
        with transaction.atomic():
            Organization.objects.lock(self.pk)
            self.delete()

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete the organization and everything in it."""
        with transaction.atomic():
            same = Organization.objects.filter(pk=self.pk)
            list(same.select_for_update(no_key=True).values_list("pk"))
            # An update holds the lock of its data source, and refers to the organization when it
            # commits. So lock the data sources first, then the organization against references.
            data_sources: Any = self.data_sources
            data_sources.lock_for_removal()
            list(same.select_for_update().values_list("pk"))
            return super().delete(*args, **options)

    def change(self, values: dict[str, Any]) -> None:
        """Store the given fields, and only those. Raises ValidationError (400) and Gone (404)."""
        for field, value in values.items():
            setattr(self, field, value)
        self.clean_fields(exclude={field.name for field in self._meta.fields} - {*values})
        stored = {field: getattr(self, field) for field in values}
        if not Organization.objects.filter(pk=self.pk).update(**stored):
            raise Gone


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    """Workspaces, and the default one of an organization."""

    def first_of(self, organization_id: int | None) -> "Workspace | None":
        """Return the default workspace of an organization, its first one; None if it has none."""
        return self.filter(organization_id=organization_id).order_by("id").first()


class Workspace(models.Model):
    """A group of data sources within an organization."""

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="workspaces",
        db_index=False,  # the index of the constraint below serves
    )
    name = NameField(
        max_length=255, validators=[validate_visible], help_text="Unique in the organization."
    )
    created_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When the workspace was created."
    )

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="workspace_name_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.organization}"

    def save(self, *args: Any, **options: Any) -> None:
        """Save the workspace. Raises ValidationError (400) if the name is invalid."""
        self.clean_fields(exclude=["organization"])
        super().save(*args, **options)

    def save_unique(self) -> None:
        """Save a new workspace, or the changed name of a stored one.

        Raises ValidationError (400) if the name is invalid, or taken, also when two calls race.
        Raises Gone (404) if the workspace was removed, and QuotaExceeded (409).
        """
        self.clean_fields(exclude=["organization"])
        message = "The organization already has a workspace with this name."
        unique = unique_violation_as_validation_error("workspace_name_unique", "name", message)
        with unique, transaction.atomic():
            organization = Organization.objects.lock(self.organization_id)
            if self._state.adding:
                self.save()
                organization.check_quota("workspaces", organization.workspaces.count())
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
                    # Check now, not at the commit: a data source may have been added since.
                    connection.check_constraints()
            except (models.RestrictedError, IntegrityError):
                raise WorkspaceInUse from None
