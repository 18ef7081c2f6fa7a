"""The user: a person or a program that signs in."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as StockUserManager
from django.db import IntegrityError, connection, models, transaction

DELETION_ATTEMPTS = 5


class UserQuerySet(models.QuerySet["User"]):
    """Users."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the users. Raises LastOwner (409), as `User.delete` does."""
        with transaction.atomic():  # else the locks of `require_other_owners` end too early
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]  # the manager has none


class UserManager(StockUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    """Creates and finds users."""

    use_in_migrations = False


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

    objects: ClassVar[UserManager] = UserManager()

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """Save the user. A password is never saved without the generation of its tokens.

        Raises LastOwner (409) if this deactivates the last owner of an organization.
        """
        if update_fields is not None and "password" in update_fields:
            update_fields = {*update_fields, "token_generation"}
        with transaction.atomic():
            if not self.is_active and (update_fields is None or "is_active" in update_fields):
                self._require_other_owners()
            super().save(*args, update_fields=update_fields, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete the user. Raises LastOwner (409) for the last owner of an organization.

        Deletes again if another transaction has stored a row that refers to the user meanwhile.
        Locking the user first could deadlock: an update locks its data source before its author.
        """
        pk = self.pk
        for attempts_left in reversed(range(DELETION_ATTEMPTS)):
            try:
                with transaction.atomic():
                    deleted = super().delete(*args, **options)
                    connection.check_constraints()
                    return deleted
            except IntegrityError:
                self.pk = pk
                if not attempts_left:
                    raise
        raise AssertionError

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

    def _require_other_owners(self) -> None:
        if self.pk is not None:
            memberships: Any = self.memberships
            memberships.filter(user__is_active=True).require_other_owners()
