"""`PATCH …?verify=true`: an update is tested before it is stored."""

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

# It must be over before the waiting is.
MAX_SECONDS = 25
TOO_SLOW = (
    f"It took longer than connection_timeout allows, or the {MAX_SECONDS} seconds that there are "
    "for an update. Check the server, or update without verify and test then."
)


class Verification:
    """The test of what an update would make of a data source.

    Two transactions: the first one asks for the test, the second one stores what was tested. No
    row is locked while it runs.
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
        """Ask for the test of a locked data source. Raises 400, 409 and 429.

        A request that is sent again with its `Idempotency-Key` gets the test that it has asked for
        already, if the settings would still be the same. Raises KeyInUse (409) while that runs.
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
        """Return once the settings have connected.

        Raises ConnectionFailed (422) if they do not, WorkerUnavailable (503) if nobody tries, and
        must not be called in a transaction.
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
        """Show the result on the data source, which has been updated by now.

        Raises SettingsChanged (409), and the update must be undone, if it became anything else
        than what was tested.
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
