"""Starting connection tests: reading the request, storing the test and deferring its job."""

from typing import Any
from uuid import UUID

from procrastinate.jobs import JobDeferrer
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.serializers import DraftSerializer, HostKeyConfirmationSerializer
from datasources.connection_tests.tasks import test_connection
from datasources.connection_tests.throttling import EXPRESS_MAX, count_running, count_test
from datasources.connections.configuration import Configuration
from datasources.credentials.serializers import check_credentials
from datasources.jobs import Queue
from datasources.models import DataSource
from datasources.serializers import DataSourceUpdateSerializer
from datasources.viewsets import creating_roles
from organizations.authentication import caller
from organizations.models import Role, User
from organizations.permissions import require_role
from rivergen.http.input import check_parameters, read_body
from rivergen.http.serializers import StrictIntegerField


def start_test(
    data_source: DataSource,
    configuration: Configuration,
    *,
    is_stored: bool,
    user: User,
    test_id: UUID | None = None,
) -> ConnectionTest:
    """Store a test and the job that runs it, in the transaction. Raises Throttled (429)."""
    organization_id = data_source.workspace.organization_id
    count_test(organization_id)
    number = count_running(organization_id)
    test = ConnectionTest.objects.request(
        configuration, of=data_source, is_stored=is_stored, user=user, test_id=test_id
    )
    job_of(number).defer(test_id=str(test.pk))
    return test


def job_of(number: int) -> JobDeferrer:
    """Return what defers the job of a test; `number` tests of the organization run already.

    The first few tests of an organization use the express queue. In each queue, organizations with
    fewer running tests go first.
    """
    queue = Queue.EXPRESS if number < EXPRESS_MAX else Queue.TESTS
    deferrer: JobDeferrer = test_connection.configure(queue=queue, priority=-number)
    return deferrer


def read_fingerprint(request: Request) -> str:
    """Return the fingerprint in the body. Raises 400, 413 or 415."""
    if request.body or request.content_type:
        body = read_body(request, knows_versions=True)
    else:
        check_parameters(request, knows_versions=True)
        body = {}  # name the missing field
    serializer = HostKeyConfirmationSerializer(data=body)
    serializer.is_valid(raise_exception=True)
    fingerprint: str = serializer.validated_data["fingerprint"]
    return fingerprint


def read_test(request: Request) -> dict[str, Any]:
    """Return the body that describes what to test. Raises 401 and 403 before 400, 413 and 415."""
    try:
        return dict(read_body(request, parameters=["wait"]))
    except Exception:
        creating_roles(caller(request))
        raise


def read_draft(request: Request, body: dict[str, Any]) -> tuple[DataSource, Configuration]:
    """Return the data source that the body describes, which is not stored, and its configuration.

    Raises 400 or 403. Raises CredentialsUnconfirmed (409) if the draft would send the stored
    secrets of `based_on` to another destination and the caller may not confirm them.
    """
    roles = creating_roles(caller(request))
    if "based_on" not in body:
        return read_new_draft(body, roles)
    credentials = body.pop("credentials", {})
    data_source = find_basis(request, body.pop("based_on"))
    serializer = DataSourceUpdateSerializer(data_source, data=body, partial=True)
    serializer.is_valid(raise_exception=True)
    entered, errors = check_credentials(data_source, credentials)
    if errors:
        raise ValidationError(errors)
    changes = serializer.validated_data
    changes.pop("name", None)  # not stored, so it may be taken
    with data_source.proposed(changes, entered, user=caller(request), is_locked=True):
        return data_source, data_source.configuration()


def read_new_draft(body: dict[str, Any], roles: dict[int, str]) -> tuple[DataSource, Configuration]:
    """Return the data source and the configuration of a draft without `based_on`."""
    serializer = DraftSerializer(data=body, context={"roles": roles})
    serializer.is_valid(raise_exception=True)
    values = serializer.validated_data
    entered = values.pop("credentials")
    data_source = DataSource(**values)
    require_role(roles[data_source.workspace.organization_id], Role.EDITOR)
    secrets = data_source.pop_secrets()
    data_source.username = entered.pop("username", None)
    secrets |= {field: text for field, text in entered.items() if text is not None}
    return data_source, data_source.configuration(secrets)


def find_basis(request: Request, data_source_id: Any) -> DataSource:
    """Return the data source that a draft is based on, locked. Raises 400 or 403."""
    try:
        pk = StrictIntegerField().run_validation(data_source_id)
        data_sources = DataSource.objects.for_user(caller(request)).for_update()
        data_source = data_sources.get(pk=pk)
    except ValidationError as error:
        raise ValidationError({"based_on": error.detail}) from None
    except (DataSource.DoesNotExist, OverflowError):
        sentence = "There is no such data source in your organizations."
        raise ValidationError({"based_on": [sentence]}) from None
    require_role(data_source.role, Role.EDITOR)
    return data_source
