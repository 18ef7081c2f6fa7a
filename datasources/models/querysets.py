"""The queryset of data sources: visibility, filters, locks and bulk operations."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any, NoReturn, Self, TypeVar

from django.db import models, transaction
from django.db.models import Count, Sum
from django.db.models.functions import Lower
from django.utils import timezone

from datasources.models.changing import ChangingDataSource, size_of
from datasources.models.field_names import SEARCHED_FIELDS
from datasources.models.revision import Author, DataSourceRevision
from organizations.models import Organization, User
from rivergen.names import normalized
from rivergen.postgresql.lookups import AnyOf, AnyOfPairs
from rivergen.postgresql.prepared import PreparedGet

Row = TypeVar("Row", bound=ChangingDataSource, covariant=True)

# The schedule enqueues what is due every 10 seconds.
OVERDUE_AFTER = timedelta(minutes=5)


class UnrecordedChangeError(TypeError):
    """Use `apply_changes` to change a stored data source: it records the change."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class DataSourceQuerySet(models.QuerySet[Row]):
    """Data sources. Methods that would change rows without recording it raise an error."""

    def for_user(self, user: User) -> Self:
        """Restrict to the organizations of an active user; annotates `role`, the user's in each.

        Joins the user, so that a deactivated user finds nothing, without an extra query.
        """
        return self.filter(
            organization__memberships__user_id=user.pk,
            organization__memberships__user__is_active=True,
        ).annotate(role=models.F("organization__memberships__role"))

    def visible_to(self, user: User, pk: int) -> Row:
        """Return one data source, as `for_user(user).get(pk=pk)` does, without building the SQL.

        Raises DataSource.DoesNotExist.
        """
        return prepared_get(self.model, is_locked=False)(user.pk, pk)

    def locked_for(self, user: User, pk: int) -> Row:
        """Return one data source for a change by `user`: locked, and with the policy annotated.

        Raises DataSource.DoesNotExist.
        """
        return prepared_get(self.model, is_locked=True)(user.pk, pk)

    def locked_many_for(self, user: User, pks: Collection[int]) -> dict[int, Callable[[], Row]]:
        """Lock data sources for changes by `user`, as `locked_for` does, in one statement.

        They are locked in the order of their ids, so that concurrent calls wait for each other and
        never for a circle. Returns by id a function that makes the instance; ids that the user may
        not see are missing.
        """
        return prepared_get_many(self.model).many(user.pk, [*pks])

    def with_policy(self) -> Self:
        """Annotate `requires_if_match`: whether the row's organization requires `If-Match`."""
        return self.annotate(requires_if_match=models.F("organization__requires_if_match"))

    def in_organizations(self, ids: Iterable[int]) -> Self:
        """Restrict to these organizations.

        Lists use this instead of `for_user`. With a join, PostgreSQL cannot know which
        organizations it will find, and plans badly: some are a thousand times as large as others.
        """
        return self.filter(AnyOf(models.F("organization_id"), [*ids]))

    def named(self, names: Collection[tuple[int, str]]) -> Self:
        """Restrict to pairs of a workspace id and a name in lower case (`lookups.lower_case`).

        Annotates `name_key`, the name in lower case.
        """
        return self.annotate(name_key=Lower("name")).filter(
            AnyOfPairs("workspace_id", "name_key", pairs=names)
        )

    def with_name(self, name: str) -> Self:
        """Restrict to rows with this name, ignoring case as the unique constraint does."""
        key = Lower(models.Value(normalized(name)))
        return self.alias(name_key=Lower("name")).filter(name_key=key)

    def with_host(self, *spellings: str) -> Self:
        """Restrict to rows whose host is one of these spellings, ignoring case."""
        lower_case = [Lower(models.Value(spelling)) for spelling in spellings]
        return self.alias(host_key=Lower("host")).filter(host_key__in=lower_case)

    def for_update(self) -> Self:
        """Lock the rows until the transaction ends, for `apply_changes(…, is_locked=True)`.

        Rows that refer to a locked data source can still be inserted (FOR NO KEY UPDATE).
        """
        return self.select_for_update(no_key=True, of=("self",))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, and all that refers to them."""
        with transaction.atomic():
            self.lock_for_removal()
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]  # no manager has it

    def lock_for_removal(self) -> None:
        """Lock the rows in the order of their ids, until the transaction ends.

        Nobody can insert a row that refers to them any more (FOR UPDATE): the removal would miss
        it, and fail.
        """
        list(self.order_by("pk").select_for_update(of=("self",)).values_list("pk"))

    def tagged(self, tags: Iterable[str]) -> Self:
        """Restrict to the data sources that have all these tags."""
        return self.filter(tags__contains=[*map(normalized, tags)])

    def search(self, text: str) -> Self:
        """Restrict to rows that have each word of `text` in one of `SEARCHED_FIELDS`."""
        conditions = [
            reduce(or_, (models.Q((f"{field}__icontains", word)) for field in SEARCHED_FIELDS))
            for word in dict.fromkeys(normalized(text).split())
        ]
        return self.filter(*conditions)

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> Any:
        """Insert data sources, their secrets, and the first revision of each."""
        if options.get("update_conflicts") or options.get("ignore_conflicts"):
            raise UnrecordedChangeError
        objs = list(objs)
        for data_source in objs:
            data_source.complete()
        ids = sorted({data_source.organization_id for data_source in objs})
        with extracted_secrets(objs) as secrets, transaction.atomic():
            organizations = [Organization.objects.lock(pk) for pk in ids]
            for data_source, of_one in zip(objs, secrets, strict=True):
                data_source.history_bytes = size_of(data_source.first_changes(of_one))
            created: list[Any] = super().bulk_create(objs, *args, **options)
            revisions = []
            for data_source, of_one in zip(created, secrets, strict=True):
                data_source.credentials.seal_all(of_one, data_source.created_by)
                revision = data_source.first_revision(of_one, Author(data_source.created_by))
                revisions.append(revision)
            DataSourceRevision.objects.bulk_create(revisions)
            for organization in organizations:
                self.check_quotas(organization, "data_sources", "history_bytes")
        return created

    def check_quotas(self, organization: Organization, *names: str) -> None:
        """Raise QuotaExceeded (409) if the organization has more of `names` than it may.

        `names` are `data_sources` and `history_bytes`. Call it after a write, in its transaction.
        The number of data sources is exact if the transaction has locked the organization. The
        history of concurrent transactions does not count.
        """
        rows = self.model._base_manager.filter(organization_id=organization.pk)
        used = rows.aggregate(data_sources=Count("pk"), history_bytes=Sum("history_bytes"))
        for name in names:
            organization.check_quota(name, used[name] or 0)

    def update(self, **kwargs: Any) -> NoReturn:
        """Raise UnrecordedChangeError: the change would not be in the history."""
        raise UnrecordedChangeError

    def due_for_refresh(self) -> Self:
        """Restrict to data sources whose schema refresh is due, the longest due first."""
        due = self.filter(schema_next_refresh_at__lte=timezone.now())
        return due.exclude(schema_status=self.model.SchemaStatus.REFRESHING).order_by(
            "schema_next_refresh_at"
        )

    def overdue_for_refresh(self) -> Self:
        """Restrict to data sources whose refresh is more than 5 minutes late, the longest first.

        Such a refresh has not been enqueued, or is enqueued and no worker has started it.
        Annotates `waits_since`.
        """
        latest = timezone.now() - OVERDUE_AFTER
        data_sources: Any = self.model._default_manager
        due = data_sources.due_for_refresh().filter(schema_next_refresh_at__lte=latest)
        enqueued = data_sources.filter(
            schema_refresh__finished_at=None,
            schema_refresh__tables_total=None,
            schema_refresh__requested_at__lte=latest,
        )
        waits_since = models.Case(
            models.When(
                schema_status=self.model.SchemaStatus.REFRESHING,
                then="schema_refresh__requested_at",
            ),
            default="schema_next_refresh_at",
        )
        # A union, so that each part uses its index; one OR condition would use neither.
        pks = due.order_by().values("pk").union(enqueued.order_by().values("pk"))
        overdue = self.filter(pk__in=pks)
        return overdue.annotate(waits_since=waits_since).order_by("waits_since")

    def record_schema(self, **columns: Any) -> int:
        """Store the state of the schema. Like `record_test`, this is no change of the version.

        `columns` are some of `schema_status`, `schema_refreshed_at`, `schema_next_refresh_at`.
        """
        return super().update(**columns, has_changed_within_version=True)

    def record_test(self, result: dict[str, Any], *, version: int | None) -> int:
        """Store the result of a connection test of this version; rows at other versions stay.

        A result is an observation, not a change: `version` and the history stay as they are.
        """
        status = self.model.Status.ACTIVE if result["ok"] else self.model.Status.ERROR
        return super(DataSourceQuerySet, self.filter(version=version)).update(
            status=status, last_test=result, has_changed_within_version=True
        )


@functools.cache
def prepared_get(model: Any, is_locked: bool) -> PreparedGet[Any]:
    """Return the prepared query that fetches one data source for a user, locked or not."""

    def visible(user_id: int, pk: int) -> DataSourceQuerySet[Any]:
        return model.objects.for_user(User(pk=user_id)).filter(pk=pk)

    def locked(user_id: int, pk: int) -> DataSourceQuerySet[Any]:
        return visible(user_id, pk).with_policy().for_update()

    return PreparedGet(model, locked if is_locked else visible)


@functools.cache
def prepared_get_many(model: Any) -> PreparedGet[Any]:
    """Return the prepared query that fetches and locks many data sources for a user."""

    def locked(user_id: int, pks: Any) -> DataSourceQuerySet[Any]:
        rows = model.objects.for_user(User(pk=user_id)).filter(AnyOf(models.F("pk"), pks))
        locked: DataSourceQuerySet[Any] = rows.with_policy().order_by("pk").for_update()
        return locked

    return PreparedGet(model, locked)


@contextmanager
def extracted_secrets(
    data_sources: Sequence[Any], given: Mapping[str, str] | None = None
) -> Iterator[list[dict[str, str]]]:
    """Move the secrets out of the connection strings of new data sources; yield them by field.

    `given` are further secrets of each. If the block fails, the connection strings are restored,
    for another attempt.
    """
    urls = [data_source.connection_string for data_source in data_sources]
    try:
        secrets = [data_source.pop_secrets() | (given or {}) for data_source in data_sources]
        for data_source, of_one in zip(data_sources, secrets, strict=True):
            status = data_source.CredentialsStatus
            data_source.credentials_status = status.SET if of_one else status.UNSET
        yield secrets
    except BaseException:
        for data_source, url in zip(data_sources, urls, strict=True):
            data_source.connection_string = url
        raise
