"""`PATCH …?verify=true`: test the settings of an update before storing it."""

import dataclasses
from typing import Any

from datasources.connection_tests.exceptions import (
    ConnectionFailed,
    SettingsChanged,
    WorkerUnavailable,
)
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.starting import start_test
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS, wait_for
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code
from datasources.models import DataSource
from organizations.idempotency.exceptions import KeyInUse
from organizations.idempotency.keyed_request import KeyedRequest
from organizations.models import User

# The test must time out before the request stops waiting.
MAX_SECONDS = 25
TOO_SLOW = (
    f"It took longer than connection_timeout, or than the {MAX_SECONDS} seconds that an update "
    "with verify allows. Check the server, or update without verify and test afterwards."
)


class Verification:
    """The connection test of the settings that an update would lead to.

    It takes two transactions: the first starts the test, the second stores the update. No row is
    locked while the test runs.
    """

    def __init__(self, configuration: Configuration, test: ConnectionTest) -> None:
        self._configuration = configuration
        self._test = test

    @classmethod
    def start(
        cls,
        data_source: DataSource,
        changes: dict[str, Any],
        user: User,
        keyed: KeyedRequest | None,
    ) -> "Verification":
        """Start the test for a locked data source. Raises 400, 409 or 429.

        A retry with the same `Idempotency-Key` uses the test of the first attempt, if the settings
        would still be the same. Raises KeyInUse (409) while that test runs.
        """
        with data_source.proposed(changes, {}, user=user, is_locked=True):
            configuration = data_source.configuration()
        seconds = min(configuration.connection_timeout, MAX_SECONDS)
        tested = dataclasses.replace(configuration, connection_timeout=seconds)
        test_id, test = None, None
        if keyed is not None:
            test_id = keyed.uuid_for([tested.without_secrets(), dict(tested.secrets)])
            test = ConnectionTest.objects.filter(pk=test_id).first()
        if test is not None and test.may_be_waited_for(WAIT_MAX_SECONDS):
            raise KeyInUse
        test = test or start_test(data_source, tested, is_stored=False, user=user, test_id=test_id)
        return cls(configuration, test)

    def wait(self) -> None:
        """Wait until the test has succeeded. Not for use in a transaction.

        Raises ConnectionFailed (422) if it fails, and WorkerUnavailable (503) if no worker runs it
        in time.
        """
        wait_for(self._test, WAIT_MAX_SECONDS)
        if self._test.finished_at is None:
            ConnectionTest.objects.running().filter(pk=self._test.pk).delete()
            raise WorkerUnavailable
        result = self._test.result()
        if result["code"] == Code.DEADLINE:
            result["message"] = TOO_SLOW
        if not result["ok"]:
            raise ConnectionFailed(result)

    def record(self, data_source: DataSource) -> None:
        """Record the connection test on the data source, after the tested update was written.

        Raises SettingsChanged (409) if the stored settings are not those that were tested; the
        transaction must then be rolled back.
        """
        stored = data_source.configuration()
        if stored != self._configuration:
            raise SettingsChanged
        result = self._test.result() | {
            "data_source_id": data_source.pk,
            "version": data_source.version,
        }
        if data_source.has_later_test(result):
            return
        DataSource.objects.filter(pk=data_source.pk).record_test(
            result, version=data_source.version
        )
        data_source.refresh_from_db(fields=["status", "last_test"])
