"""Connection tests: requested over HTTP or by a command, and run by a worker."""

import hashlib
import json
import uuid
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, message_of
from datasources.connections.outcome import Outcome
from datasources.connections.protection import explain_warnings
from datasources.connections.ssh.host_keys import fingerprint
from datasources.credentials.cipher import KEY_ID_LENGTH, Sealed, key_ring
from datasources.models import DataSource
from datasources.models.field_names import CONNECTION_FIELDS
from organizations.models import Organization, User

# Results are deleted after this; `DataSource.last_test` keeps the last one of a data source.
KEPT_FOR = timedelta(days=1)


class ConnectionTestQuerySet(models.QuerySet["ConnectionTest"]):
    """Connection tests of any data sources."""

    def for_user(self, user: User) -> Self:
        """Restrict to the organizations of an active user."""
        return self.filter(organization__in=Organization.objects.for_user(user))

    def running(self) -> Self:
        """Restrict to tests that have not finished."""
        return self.filter(finished_at=None)

    def outdated(self) -> Self:
        """Restrict to tests that are old enough to be deleted."""
        return self.filter(requested_at__lt=timezone.now() - KEPT_FOR)

    def request(
        self,
        configuration: Configuration,
        *,
        of: DataSource,
        is_stored: bool,
        user: User | None = None,
        test_id: uuid.UUID | None = None,
    ) -> "ConnectionTest":
        """Store a new test of a stored data source, or of a configuration that is not stored.

        `user` is None for a test by an operator. Without `test_id` the test gets a random id.
        """
        test = ConnectionTest.of(configuration, of, is_stored=is_stored, user=user, test_id=test_id)
        test.save()
        return test


class ConnectionTest(models.Model):
    """A live test of one configuration.

    The row has a copy of the whole configuration, so that a later update of the data source does
    not change what is tested. The secrets are encrypted, and removed when the test has finished.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", editable=False
    )
    data_source = models.ForeignKey(
        DataSource,
        on_delete=models.CASCADE,
        null=True,
        related_name="connection_tests",
        help_text="Null if the configuration is not stored.",
    )
    version = models.BigIntegerField(null=True, help_text="The version of the data source.")
    configuration = models.JSONField()
    key_id = models.CharField(max_length=KEY_ID_LENGTH)
    ciphertext = models.BinaryField()
    requested_at = models.DateTimeField(default=timezone.now, db_index=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    finished_at = models.DateTimeField(null=True)
    outcome = models.JSONField(null=True)

    objects = ConnectionTestQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at"]
        indexes = [
            models.Index(
                "organization", condition=models.Q(finished_at=None), name="running_connection_test"
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        data_source: DataSource,
        *,
        is_stored: bool,
        user: User | None,
        test_id: uuid.UUID | None = None,
    ) -> Self:
        """Return a new test, as `ConnectionTestQuerySet.request` stores it."""
        test = cls(
            id=test_id or uuid.uuid4(),
            organization_id=data_source.workspace.organization_id,
            data_source=data_source if is_stored else None,
            version=data_source.version if is_stored else None,
            requested_by=user,
        )
        test.seal(configuration)
        return test

    def seal(self, configuration: Configuration) -> None:
        """Set the columns to a configuration, with its secrets encrypted, without saving."""
        self.configuration = configuration.without_secrets()
        text = json.dumps(dict(configuration.secrets))
        sealed = key_ring().seal(text, self._context())
        self.key_id, self.ciphertext = sealed.key_id, sealed.ciphertext

    def open(self) -> Configuration:
        """Return the configuration with its secrets decrypted.

        Raises UnreadableError if the key is missing or the row was changed by other means.
        """
        sealed = Sealed(self.key_id, bytes(self.ciphertext))
        secrets: dict[str, str] = json.loads(key_ring().open(sealed, self._context()))
        return Configuration(**self.configuration, secrets=secrets)

    def finish(self, outcome: Outcome) -> None:
        """Store the outcome, unless the test already has one, and record it on the data source.

        The data source keeps its last result if it would connect otherwise now, or if that result
        is of a test that was requested later.
        """
        with transaction.atomic():
            data_source = None
            if self.data_source_id is not None:
                # Lock the data source before the test, as a deletion does, to avoid a deadlock.
                data_sources = DataSource.objects.filter(pk=self.data_source_id)
                data_source = data_sources.for_update().first()
            is_first = (
                ConnectionTest.objects.running()
                .filter(pk=self.pk)
                .update(
                    finished_at=(finished_at := timezone.now()),
                    outcome=outcome,
                    configuration={},
                    key_id="",
                    ciphertext=b"",
                )
            )
            if not is_first:
                return
            self.finished_at, self.outcome = finished_at, outcome
            result = self.result()
            if data_source is None or data_source.has_later_test(result):
                return
            if not data_source.has_changed_since(self.version or 0, CONNECTION_FIELDS):
                data_sources.record_test(result, version=data_source.version)

    def may_be_waited_for(self, seconds: float) -> bool:
        """Return whether the test is unfinished and was requested in the last `seconds`."""
        since = timezone.now() - timedelta(seconds=seconds)
        return self.finished_at is None and self.requested_at > since

    def result(self) -> dict[str, Any]:
        """Return the result as the API shows it; values that are not known yet are None."""
        outcome = self.outcome or {}
        code, key = outcome.get("code"), outcome.get("ssh_host_key")
        details = outcome.get("details", {})
        return {
            "test_id": str(self.pk),
            "data_source_id": self.data_source_id,
            "version": self.version,
            "requested_at": _time(self.requested_at),
            "finished_at": _time(self.finished_at),
            "ok": None if code is None else code == Code.OK,
            "code": code,
            "message": None if code is None else message_of(code, details),
            "details": details,
            "stages": outcome.get("stages", []),
            "server_version": outcome.get("server_version"),
            "ssh_host_key": key and {"key": key, "fingerprint": fingerprint(key)},
            "warnings": explain_warnings(outcome.get("warnings", [])),
        }

    def _context(self) -> bytes:
        """Return the associated data of the encryption: it binds secrets to this configuration."""
        configuration = json.dumps(self.configuration, sort_keys=True).encode()
        digest = hashlib.sha256(configuration).hexdigest()
        return json.dumps(["test", self.organization_id, str(self.pk), digest]).encode()


def _time(value: datetime | None) -> str | None:
    """Return a time as the API shows it."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")
