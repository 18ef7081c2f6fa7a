"""What staff set going with a button, and what they are told of it."""

from collections.abc import Callable
from typing import NamedTuple

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest
from rest_framework.exceptions import APIException

from datasources.admin.history import overtaken
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.starting import start_test
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS, wait_for, waiting_place
from datasources.jobs import has_worker
from datasources.models import Author, DataSource
from datasources.models.revision import DataSourceRevision
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.starting import start_refresh
from organizations.models import User
from rivergen.errors import DomainError
from rivergen.http.input import read_id
from rivergen.observability.logs import request_id

NO_WORKER = "No worker runs, so that nobody does it yet. Start one: manage.py worker."
STILL_RUNNING = "It is still running. Open this page again for the result."


class Told(NamedTuple):
    """A sentence, and how good or bad it is: one of the levels of `django.contrib.messages`."""

    level: int
    sentence: str


def press(request: HttpRequest, button: Callable[[HttpRequest, int], Told], pk: int) -> None:
    """Do what the button does for a data source, and tell it on the next page."""
    try:
        told = button(request, pk)
    except (APIException, DomainError) as error:
        told = Told(messages.ERROR, str(error))
    except ValidationError as error:
        told = Told(messages.ERROR, " ".join(error.messages))
    except PermissionDenied as error:
        told = Told(messages.ERROR, str(error))
    except DataSource.DoesNotExist:
        told = Told(messages.ERROR, "The data source has been deleted meanwhile.")
    messages.add_message(request, told.level, told.sentence)


def test_connection(request: HttpRequest, pk: int) -> Told:
    """Have a worker test the connection; give the result, if it comes in time."""
    with transaction.atomic():
        data_source = lock(pk)
        test = start_test(
            data_source, data_source.configuration(), is_stored=True, user=staff(request)
        )
    if not_yet := wait_a_while(test):
        return not_yet
    result = test.result()
    if not result["ok"]:
        return Told(messages.ERROR, f"It does not connect: {result['message']} ({result['code']})")
    version = result["server_version"]
    return Told(messages.SUCCESS, f"It connects. {version}" if version else "It connects.")


def refresh_schema(request: HttpRequest, pk: int) -> Told:
    """Have a worker read the schema; give how it ended, if it does in time."""
    with transaction.atomic():
        refresh = start_refresh(lock(pk), staff(request))
    if not_yet := wait_a_while(refresh):
        return not_yet
    if not refresh.ok:
        sentence = f"The schema could not be read: {refresh.message} ({refresh.code})"
        return Told(messages.ERROR, sentence)
    return Told(messages.SUCCESS, f"{refresh.message} Tables: {refresh.tables_total}.")


@transaction.atomic
def confirm_credentials(request: HttpRequest, pk: int) -> Told:
    """Let the secrets that wait be used where the page showed that the source leads."""
    data_source = lock_shown(request, pk)
    data_source.confirm_credentials(user=author(request), is_locked=True)
    return Told(messages.SUCCESS, "The credentials may be used at this destination.")


@transaction.atomic
def confirm_host_key(request: HttpRequest, pk: int) -> Told:
    """Trust the host key that the page showed."""
    data_source = lock_shown(request, pk)
    data_source.confirm_ssh_host_key(
        request.POST.get("fingerprint"), user=author(request), is_locked=True
    )
    return Told(messages.SUCCESS, "The SSH server is trusted with this host key.")


@transaction.atomic
def restore(request: HttpRequest, pk: int) -> Told:
    """Bring all fields back to what they were at a version."""
    data_source = lock_shown(request, pk)
    version = read_id(request.POST.get("to", ""))
    try:
        changes = data_source.restore(version, user=author(request), is_locked=True)
    except DataSourceRevision.DoesNotExist:
        raise ValidationError("There is no such version.") from None
    if not changes:
        return Told(messages.INFO, f"It is as it was at version {version} already.")
    return Told(
        messages.SUCCESS,
        f"Version {version} is restored, as version {data_source.version}. "
        "Credentials stayed as they are.",
    )


def lock(pk: int) -> DataSource:
    """Fetch a data source for a change; it stays locked until the commit."""
    return DataSource.objects.for_update().select_related("workspace").get(pk=pk)


def lock_shown(request: HttpRequest, pk: int) -> DataSource:
    """Do so if it still has the version that the page showed, else raise ValidationError."""
    data_source = lock(pk)
    shown_version = read_id(request.POST.get("version", ""))
    if shown_version != data_source.version:
        raise ValidationError(overtaken(data_source, shown_version))
    return data_source


def author(request: HttpRequest) -> Author:
    """Return who makes the changes of a request of the admin pages."""
    return Author(staff(request), DataSourceRevision.Origin.ADMIN, request_id.get())


def staff(request: HttpRequest) -> User:
    """Give who is signed in to the admin."""
    assert isinstance(request.user, User)
    return request.user


def wait_a_while(job: ConnectionTest | SchemaRefresh) -> Told | None:
    """Wait for the end, if a worker is there to bring it, and a place to wait at.

    Gives what to tell if it has not come.
    """
    if not has_worker():
        return Told(messages.WARNING, NO_WORKER)
    with waiting_place() as has_place:
        if has_place:
            wait_for(job, WAIT_MAX_SECONDS)
    return Told(messages.WARNING, STILL_RUNNING) if job.finished_at is None else None
