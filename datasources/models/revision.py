"""The history of data sources: one revision for each change, with its author."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from organizations.models import User

Changes = dict[str, dict[str, Any]]
"""What differs, by field: `{"port": {"from": 5432, "to": 5433}}`.

For a secret, "from" and "to" are states such as `set`, never values.
"""


class DataSourceRevisionQuerySet(models.QuerySet["DataSourceRevision"]):
    """The history of data sources."""

    def since(self, version: int) -> Self:
        """Restrict to what came after a version, oldest first."""
        return self.filter(version__gt=version).order_by("version")

    def changing(self, fields: Iterable[str]) -> Self:
        """Restrict to changes of any of these fields."""
        return self.filter(changes__has_any_keys=[*fields])

    def with_fields(self) -> Self:
        """Annotate `fields`, the names of what changed; `changes` itself may have 200 KB."""
        return self.annotate(
            fields=models.Func(
                "changes",
                template="ARRAY(SELECT jsonb_object_keys(%(expressions)s))",
                output_field=ArrayField(models.TextField()),
            )
        )

    def changed_fields(self) -> set[str]:
        """Return the names of all that changed, in one query however long the history is."""
        keys = models.Func("changes", function="jsonb_object_keys", output_field=models.TextField())
        return {*self.order_by().values_list(keys, flat=True).distinct()}


class DataSourceRevision(models.Model):
    """One change of a data source: the version, time, author, origin and what differs."""

    class Origin(models.TextChoices):
        """The interface through which a change was made."""

        API = "api"
        ADMIN = "admin"
        SHELL = "shell"
        JOB = "job"
        RESTORE = "restore"

    data_source = models.ForeignKey(
        "DataSource",
        on_delete=models.CASCADE,
        related_name="revisions",
        db_index=False,  # the index of the constraint below serves
    )
    version = models.BigIntegerField(help_text="The version that this change led to.")
    changed_at = models.DateTimeField(help_text="When the change was stored.")
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    origin = models.CharField(
        max_length=16,
        choices=Origin.choices,
        help_text="Where the change came from: the API, the admin pages, a shell or command, a "
        "background job, or a restore.",
    )
    request_id = models.CharField(
        max_length=128,
        blank=True,
        default="",
        help_text="The X-Request-ID of the request. Empty if there was none.",
    )
    changes = models.JSONField(
        help_text="What changed: each field with its value before (from) and after (to). Secrets "
        "have a state such as set, never a value."
    )

    objects = DataSourceRevisionQuerySet.as_manager()

    class Meta:
        ordering = ["-version"]
        constraints = [
            # The index of this constraint also serves the history.
            models.UniqueConstraint(fields=["data_source", "version"], name="revision_unique")
        ]

    def __str__(self) -> str:
        return f"{self.data_source_id}, version {self.version}"


@dataclass(frozen=True)
class Author:
    """The author of a change, as a revision records it: the user, the origin and the request."""

    user: User | None
    """None stands for an operator or the service itself."""
    origin: str = DataSourceRevision.Origin.SHELL
    request_id: str = ""
