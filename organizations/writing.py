"""`@write`: the transaction, the retries and the idempotency of view methods that write."""

import contextlib
import functools
import random
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from psycopg.errors import DeadlockDetected, SerializationFailure
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.idempotency.keyed_request import KeyedRequest
from organizations.viewsets import ScopedViewSet
from rivergen.http.openapi.describing import describe
from rivergen.http.openapi.schema import IDEMPOTENCY_KEY, KEYED_METHODS

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 3
PAUSE_SECONDS = (0.01, 0.1)


def write(**description: Any) -> Callable[[Callable[..., Response]], Callable[..., Any]]:
    """Run a method of a scoped view in one transaction, retried after a deadlock, once per key.

    `description` is passed to `describe`; a method without it is a step of another method. The
    method must set `organization_id` of its view, as `find` does. `POST` and `PATCH` with an
    `Idempotency-Key` are done once for each key: raises KeyInUse (409), KeyReused (422) and 400.
    """

    def decorate(method: Callable[..., Response]) -> Callable[..., Any]:
        @retried
        @transaction.atomic
        def change(
            view: ScopedViewSet, request: Request, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            perform = functools.partial(method, view, request, *args, **kwargs)
            is_keyed = IDEMPOTENCY_KEY in request.headers and request.method in KEYED_METHODS
            keyed = KeyedRequest.of(view) if is_keyed else None
            response = perform() if keyed is None else keyed.answer_once(perform)
            assert view.organization_id or keyed, "The method must set organization_id."
            return response

        @functools.wraps(method)
        def receive_and_change(
            view: ScopedViewSet, request: Request, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            receive_body(request)
            return change(view, request, *args, **kwargs)

        return describe(**description)(receive_and_change) if description else receive_and_change

    return decorate


def receive_body(request: Request) -> None:
    """Read the body before a row is locked, so that a slow client does not hold the lock.

    A body that is too large is ignored here; `read_body` refuses it later, in the order of checks.
    """
    with contextlib.suppress(RequestDataTooBig):
        _ = request.body


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Retry a function if its transaction was rolled back because of a concurrent one.

    PostgreSQL rolls back one of two transactions in a deadlock (SQLSTATE 40P01) and, at stricter
    isolation levels, one that read what another changed (40001). The whole transaction must be
    retried, so within a transaction this does nothing.

    Raises the error of the last attempt: OperationalError (503).
    """

    @functools.wraps(function)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                has_lost = isinstance(error.__cause__, DeadlockDetected | SerializationFailure)
                if not has_lost or connection.in_atomic_block:
                    raise
            # Back off: an immediate retry collides with the same transaction.
            time.sleep(random.uniform(*PAUSE_SECONDS))
        return function(*args, **kwargs)

    return attempt
