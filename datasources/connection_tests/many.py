"""Starting connection tests of many stored data sources in one request."""

from collections import defaultdict
from http import HTTPStatus
from typing import Any

from django.db.models import BigIntegerField, F
from procrastinate.contrib.django import app
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.serializers import IDS_MAX
from datasources.connection_tests.starting import job_of
from datasources.connection_tests.throttling import count_tests
from datasources.connections.configuration import Configuration
from datasources.models import DataSource
from datasources.viewsets import REFUSALS, refusal_of
from organizations.models import Role, User
from organizations.permissions import require_membership, require_role
from rivergen.http.exceptions import NoSuchResource
from rivergen.http.input import id_problem
from rivergen.postgresql.lookups import AnyOf

IDS = "ids"
# Columns that may be large, and that no connection needs.
UNUSED_COLUMNS = ("description", "metadata", "tags", "last_test")
NO_WAIT = (
    "Tests of many data sources are not waited for. GET /api/v1/connection-tests/{test_id} has the "
    "result of each."
)

Result = dict[str, Any]
"""What became of one test: `id`, `status`, and `data` with the `test_id`, or `error`."""


class ManyTests:
    """Starts a test of each data source whose own request would start one."""

    def __init__(self, user: User, ids: list[int]) -> None:
        """Fetch and lock the data sources that the user sees, with their secrets."""
        self._user = user
        self._ids = ids
        stored = [pk for pk in ids if pk <= BigIntegerField.MAX_BIGINT]
        visible = DataSource.objects.for_user(user).filter(AnyOf(F("pk"), stored))
        found = visible.select_related("workspace").prefetch_related("credentials")
        locked = found.defer(*UNUSED_COLUMNS).order_by("pk").for_update()
        self._found = {source.pk: source for source in locked}
        self.finds_all = len(self._found) == len(ids)
        self.organization_ids = [self._found[pk].organization_id for pk in ids if pk in self._found]

    def start(self) -> list[Result]:
        """Store the tests and their jobs, in the transaction; return the results in order."""
        results: dict[int, Result] = {}
        wanted: defaultdict[int, list[tuple[DataSource, Configuration]]] = defaultdict(list)
        for pk in self._ids:
            try:
                data_source = self._found.get(pk)
                if data_source is None:
                    raise NoSuchResource
                require_role(data_source.role, Role.EDITOR)
                configuration = data_source.configuration()
            except REFUSALS as error:
                results[pk] = refusal_of(error, pk)
            else:
                wanted[data_source.organization_id].append((data_source, configuration))
        # In this order, because the count of each organization stays locked until the commit.
        for organization_id in sorted(wanted):
            results |= self._start_of(organization_id, wanted[organization_id])
        return [{"id": pk, **results[pk]} for pk in self._ids]

    def _start_of(
        self, organization_id: int, wanted: list[tuple[DataSource, Configuration]]
    ) -> dict[int, Result]:
        """Start as many tests of one organization as its limits allow; return results by id."""
        started, running, refusal = count_tests(organization_id, len(wanted))
        tests = [
            ConnectionTest.of(configuration, data_source, is_stored=True, user=self._user)
            for data_source, configuration in wanted[:started]
        ]
        ConnectionTest.objects.bulk_create(tests)
        jobs = [
            job_of(number).make_new_job(test_id=str(test.pk))
            for number, test in enumerate(tests, start=running)
        ]
        if jobs:
            app.job_manager.batch_defer_jobs(jobs)
        results: dict[int, Result] = {}
        for test in tests:
            assert test.data_source_id is not None
            data = {"test_id": str(test.pk)}
            results[test.data_source_id] = {"status": HTTPStatus.ACCEPTED, "data": data}
        for data_source, _ in wanted[started:]:
            results[data_source.pk] = refusal_of(refusal, data_source.pk)
        return results


def read_ids(user: User, request: Request, body: dict[str, Any]) -> list[int]:
    """Return the ids in a body. Raises 401 and 403, then ValidationError (400) for all mistakes."""
    errors: dict[str, list[str]] = {}
    if "wait" in request.query_params:
        errors["wait"] = [NO_WAIT]
    if others := [name[:64] for name in body if name != IDS][:5]:
        errors[IDS] = [f"Send either ids, or one configuration; not both: {', '.join(others)}."]
    elif not isinstance(ids := body[IDS], list):
        errors[IDS] = ["Must be an array of ids of data sources."]
    elif not 1 <= len(ids) <= IDS_MAX:
        errors[IDS] = [f"Must have 1 to {IDS_MAX} items; has {len(ids):,}."]
    else:
        places: dict[int, str] = {}
        for number, value in enumerate(ids):
            if problem := id_problem(value, places, f"{IDS}[{number}]"):
                errors[f"{IDS}[{number}]"] = [problem]
    if errors:
        require_membership(user)
        raise ValidationError(errors)
    return [*body[IDS]]
