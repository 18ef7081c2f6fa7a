"""The buttons on the page of a data source: what each does, and the notice that follows."""

from collections.abc import Callable
from typing import NamedTuple

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest
from rest_framework.exceptions import APIException

from datasources.admin.history import describe_conflict
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

NO_WORKER = "Queued, but no worker is running. Start one: manage.py worker."
NOTHING_SHOWN = (
    "Nothing was changed: the form does not say which {} it showed. Reload the page and try again."
)
STILL_RUNNING = "Still running. Reload this page to see the result."


class Notice(NamedTuple):
    """A sentence for the next page, with its level in `django.contrib.messages`."""

    level: int
    text: str


Action = Callable[[HttpRequest, int], Notice]
"""What a button does, given the request and the id of the data source."""


def run_action(request: HttpRequest, action: Action, pk: int) -> None:
    """Run the action of a button, and show its notice, or its error, on the next page."""
    try:
        notice = action(request, pk)
    except (APIException, DomainError) as error:
        notice = Notice(messages.ERROR, str(error))
    except ValidationError as error:
        notice = Notice(messages.ERROR, " ".join(error.messages))
    except PermissionDenied as error:
        notice = Notice(messages.ERROR, str(error))
    except DataSource.DoesNotExist:
        notice = Notice(messages.ERROR, "This data source has been deleted.")
    messages.add_message(request, notice.level, notice.text)


def test_connection(request: HttpRequest, pk: int) -> Notice:
    """Enqueue a connection test, wait for it, and return a notice of the result."""
    with transaction.atomic():
        data_source = lock(pk)
        test = start_test(
            data_source, data_source.configuration(), is_stored=True, user=staff_user(request)
        )
    if unfinished := wait_for_job(test):
        return unfinished
    result = test.result()
    if not result["ok"]:
        return Notice(messages.ERROR, f"Connection failed: {result['message']} ({result['code']})")
    version = result["server_version"]
    text = f"Connected. Server: {version}." if version else "Connected."
    if codes := ", ".join(warning["code"] for warning in result["warnings"]):
        return Notice(messages.WARNING, f"{text} Warnings: {codes}.")
    return Notice(messages.SUCCESS, text)


def refresh_schema(request: HttpRequest, pk: int) -> Notice:
    """Enqueue a schema refresh, wait for it, and return a notice of the result."""
    with transaction.atomic():
        refresh = start_refresh(lock(pk), staff_user(request))
    if unfinished := wait_for_job(refresh):
        return unfinished
    if not refresh.ok:
        text = f"The schema could not be read: {refresh.message} ({refresh.code})"
        return Notice(messages.ERROR, text)
    text = f"{refresh.message} Tables: {refresh.tables_total}."
    if refresh.warnings:
        return Notice(messages.WARNING, f"{text} Warnings: {', '.join(refresh.warnings)}.")
    return Notice(messages.SUCCESS, text)


@transaction.atomic
def confirm_credentials(request: HttpRequest, pk: int) -> Notice:
    """Confirm the unconfirmed secrets for the destination that the page showed."""
    data_source = lock_shown_version(request, pk)
    data_source.confirm_credentials(user=author(request), is_locked=True)
    return Notice(messages.SUCCESS, "Credentials confirmed for this destination.")


@transaction.atomic
def confirm_host_key(request: HttpRequest, pk: int) -> Notice:
    """Confirm the SSH host key that the page showed."""
    data_source = lock_shown_version(request, pk)
    fingerprint = request.POST.get("fingerprint")
    if not fingerprint:
        raise ValidationError(NOTHING_SHOWN.format("host key"))
    data_source.confirm_ssh_host_key(fingerprint, user=author(request), is_locked=True)
    return Notice(messages.SUCCESS, "SSH host key confirmed.")


@transaction.atomic
def restore(request: HttpRequest, pk: int) -> Notice:
    """Set all fields back to their values at a version; credentials stay unchanged."""
    data_source = lock_shown_version(request, pk)
    version = read_id(request.POST.get("to", ""))
    try:
        changes = data_source.restore(version, user=author(request), is_locked=True)
    except DataSourceRevision.DoesNotExist:
        raise ValidationError(f"There is no version {version}.") from None
    if not changes:
        return Notice(messages.INFO, f"All fields already have their values of version {version}.")
    return Notice(
        messages.SUCCESS,
        f"Version {version} was restored as version {data_source.version}. "
        "Credentials are unchanged.",
    )


def lock(pk: int) -> DataSource:
    """Lock a data source until the transaction ends, and return it."""
    return DataSource.objects.for_update().select_related("workspace").get(pk=pk)


def lock_shown_version(request: HttpRequest, pk: int) -> DataSource:
    """Lock a data source, and return it; raise ValidationError if it changed since it was shown."""
    data_source = lock(pk)
    shown_version = read_id(request.POST.get("version", ""))
    if not shown_version:
        raise ValidationError(NOTHING_SHOWN.format("version"))
    if shown_version != data_source.version:
        raise ValidationError(describe_conflict(data_source, shown_version))
    return data_source


def author(request: HttpRequest) -> Author:
    """Return the author that the history records for a request of the admin."""
    return Author(staff_user(request), DataSourceRevision.Origin.ADMIN, request_id.get())


def staff_user(request: HttpRequest) -> User:
    """Return the user who is signed in to the admin."""
    assert isinstance(request.user, User)
    return request.user


def wait_for_job(job: ConnectionTest | SchemaRefresh) -> Notice | None:
    """Wait up to WAIT_MAX_SECONDS for a job to finish; return a warning if it has not finished.

    Does not wait without a worker, nor while too many other requests wait.
    """
    if not has_worker():
        return Notice(messages.WARNING, NO_WORKER)
    with waiting_place() as has_place:
        if has_place:
            wait_for(job, WAIT_MAX_SECONDS)
    return Notice(messages.WARNING, STILL_RUNNING) if job.finished_at is None else None
