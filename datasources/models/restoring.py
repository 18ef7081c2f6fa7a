"""Restoring an earlier version of a data source, by undoing the changes since then."""

from typing import Any

from django.core.exceptions import ValidationError

from datasources.models.changing import ChangingDataSource, as_author
from datasources.models.exceptions import RestoreImpossible
from datasources.models.field_names import UPDATABLE_FIELDS
from datasources.models.revision import Author, Changes, DataSourceRevision
from organizations.models import User

# A revision may have 200 KB, so a history is never read whole.
REVISIONS_AT_ONCE = 50


class RestorableDataSource(ChangingDataSource):
    """The method that brings back an earlier version."""

    class Meta(ChangingDataSource.Meta):
        abstract = True

    def restore(
        self, version: int, *, user: User | Author | None, is_locked: bool = False
    ) -> Changes:
        """Set all fields to what they were at `version`, as a new version; return what differs.

        Undoes the later revisions, newest first. The values of credentials stay; the destination
        may change, as in `apply_changes`. Raises DataSourceRevision.DoesNotExist (404) if there is
        no such version, and RestoreImpossible (409) if the old values are no longer valid, for
        instance because the name is taken.
        """
        author = as_author(user)
        with self._changing(is_locked):
            if not self.has_version(version):
                raise DataSourceRevision.DoesNotExist
            restorer = Author(author.user, DataSourceRevision.Origin.RESTORE, author.request_id)
            try:
                return self.apply_changes(self._values_at(version), user=restorer, is_locked=True)
            except ValidationError as error:
                sentence = f"Version {version} cannot be restored: {' '.join(error.messages)}"
                raise RestoreImpossible(sentence) from None

    def _values_at(self, version: int) -> dict[str, Any]:
        """Return the values at `version` of the fields that have been changed since then."""
        values: dict[str, Any] = {}
        undone = self.version + 1
        while True:
            later = self.revisions.filter(version__gt=version, version__lt=undone)
            revisions = [*later.order_by("-version")[:REVISIONS_AT_ONCE]]
            if not revisions:
                return values
            for revision in revisions:
                for field, change in revision.changes.items():
                    if field in UPDATABLE_FIELDS:
                        values[field] = undo(values.get(field, getattr(self, field)), change)
            undone = revisions[-1].version


def undo(after: Any, change: dict[str, Any]) -> Any:
    """Return the value before a change that led to the value `after`.

    `change` is a `changing.difference`. It may also have both values whole: equal members are then
    undone to themselves.
    """
    old, new = change["from"], change["to"]
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return old
    # Only a row that was edited by hand has another value than the history says.
    current = after if isinstance(after, dict) else {}
    before = {name: value for name, value in current.items() if name not in new}
    for name, value in old.items():
        if name in new:
            value = undo(current.get(name), {"from": value, "to": new[name]})
        before[name] = value
    return before
