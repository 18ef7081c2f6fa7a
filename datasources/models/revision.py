"""The history of data sources: one revision for each change, and who made it."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import models

from organizations.models import User

Changes = dict[str, dict[str, Any]]
"""What a change did, by field: `{"port": {"from": 5432, "to": 5433}}`.

A secret shows by its name and its state, never by its value.
"""


class DataSourceRevision(models.Model):
    """One change of a data source: what, when, by whom and by which way in."""

    class Origin(models.TextChoices):
        """The way in by which a change came."""

        API = "api"
        ADMIN = "admin"
        SHELL = "shell"
        JOB = "job"
        RESTORE = "restore"

    data_source = models.ForeignKey(
        "DataSource",
        on_delete=models.CASCADE,
        related_name="revisions",
        db_index=False,  # the constraint below starts with it
    )
    version = models.BigIntegerField(help_text="The version that the change led to.")
    changed_at = models.DateTimeField()
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    origin = models.CharField(max_length=16, choices=Origin.choices)
    request_id = models.CharField(max_length=128, blank=True, default="")
    changes = models.JSONField(help_text='{"<field>": {"from": …, "to": …}}')

    class Meta:
        ordering = ["-version"]
        constraints = [
            # Also the index that a history is read by.
            models.UniqueConstraint(fields=["data_source", "version"], name="revision_unique")
        ]

    def __str__(self) -> str:
        return f"{self.data_source_id}, version {self.version}"


@dataclass(frozen=True)
class Author:
    """Who makes a change: the user, the way in, and the request; as a revision records it."""

    user: User | None
    """None: an operator, or the service itself."""
    origin: str = DataSourceRevision.Origin.SHELL
    request_id: str = ""
