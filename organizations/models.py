"""Users, organizations, workspaces and memberships."""

from collections.abc import Iterable
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from organizations.exceptions import LastOwner, LastWorkspace, QuotaExceeded, WorkspaceInUse
from organizations.idempotency.models import IdempotencyRecord, KeptAnswers
from rivergen.errors import Gone
from rivergen.names import NameField, validate_visible
from rivergen.postgresql.constraints import unique_violation_as_validation_error

DEFAULT_WORKSPACE_NAME = "Default"


def quota_field(default: str) -> models.PositiveBigIntegerField:
    """Return the column of an organization's own quota; `default` is a setting."""
    text = f"Empty: {default}."
    return models.PositiveBigIntegerField(null=True, blank=True, help_text=text)


class User(AbstractUser):
    """A person or a program that signs in."""

    last_write_position = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Position in the primary's log after this user's last change over HTTP.",
    )
    token_generation = models.IntegerField(
        default=0,
        editable=False,
        help_text="Refresh tokens of earlier generations are refused.",
    )

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """Save the user. A password is never saved without the generation of its tokens."""
        if update_fields is not None and "password" in update_fields:
            update_fields = {*update_fields, "token_generation"}
        super().save(*args, update_fields=update_fields, **options)

    def set_password(self, raw_password: str | None) -> None:
        """Set the password of this instance, and end the refresh tokens issued before."""
        super().set_password(raw_password)
        self.token_generation += 1

    def check_password(self, raw_password: str | None) -> bool:
        """Return whether this is the password; hash it again if the stored hash is outdated.

        A new hash of the same password leaves the refresh tokens valid.
        """
        stored = self.password

        def upgrade(password: str) -> None:
            # Unless the password was changed since the row was read.
            self.password = make_password(password)
            type(self).objects.filter(pk=self.pk, password=stored).update(password=self.password)

        return check_password(raw_password, stored, upgrade)

    @classmethod
    def remember_write(cls, pk: int) -> None:
        """Store the current end of the primary's log, which is after all changes of the user."""
        statement = f"""
            UPDATE {cls._meta.db_table} SET last_write_position = greatest(
                last_write_position, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
            ) WHERE id = %s
        """
        with connection.cursor() as cursor:
            cursor.execute(statement, [pk])


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

    def owned_only_by(self, user: User) -> Self:
        """Restrict to organizations that only `user` owns, of those who can sign in."""
        owners = Membership.objects.filter(
            organization=models.OuterRef("pk"), role=Role.OWNER, user__is_active=True
        )
        return self.filter(
            models.Exists(owners.filter(user=user)), ~models.Exists(owners.exclude(user=user))
        )

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
    requires_if_match = models.BooleanField(
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
        """Save the organization; a new one gets its default workspace in the same transaction."""
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

    def add_member(self, user: User, role: str) -> "Membership":
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
            # Lock the data sources: an update would add a revision that the deletion misses. Others
            # that lock several do so in the order of their ids, too.
            list(self.data_sources.select_for_update().order_by("pk").values_list("pk"))
            self.delete()

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

    def save_unique(self) -> None:
        """Save a new workspace, or the changed name of a stored one.

        Raises ValidationError (400) if the name is invalid, or taken, also when two calls race.
        Raises Gone (404) if the workspace was removed, and QuotaExceeded (409).
        """
        self.clean_fields(exclude={"organization"})
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


class Membership(models.Model):
    """The membership of a user in an organization, with a role."""

    Role = Role

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="memberships",
        db_index=False,  # the index of the constraint below serves
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(
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

    def change_role(self, role: str) -> None:
        """Store a new role. Raises LastOwner (409) or Gone (404)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            if role != Role.OWNER:
                self._keep_an_owner()
            self.role = role
            if not Membership.objects.filter(pk=self.pk).update(role=role):
                raise Gone

    def remove(self) -> None:
        """Delete the membership, effective from the next request on. Raises LastOwner (409)."""
        with transaction.atomic():
            Organization.objects.lock(self.organization_id)
            self._keep_an_owner()
            # A former member may not see the stored answers, and the keys must become free again.
            for model in (IdempotencyRecord, KeptAnswers):
                model.objects.filter(
                    user_id=self.user_id, organization_id=self.organization_id
                ).delete()
            self.delete()

    def _keep_an_owner(self) -> None:
        owners = Membership.objects.filter(organization=self.organization_id, role=Role.OWNER)
        if owners.filter(pk=self.pk).exists():
            others = owners.filter(user__is_active=True).exclude(pk=self.pk)
            if not others.exists():
                raise LastOwner
