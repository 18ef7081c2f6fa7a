"""The history of data sources: one revision for each change, with its author."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import models

from organizations.models import User

Changes = dict[str, dict[str, Any]]
"""What differs, by field: `{"port": {"from": 5432, "to": 5433}}`.

For a secret, "from" and "to" are states such as `set`, never values.
"""


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
