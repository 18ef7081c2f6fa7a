"""`Idempotency-Key`: a request that is sent again, because its answer was lost, is done once.

The answer is stored with the change, by one commit: there is either both or neither, at whatever
moment a process or a connection ends. That the first request is still under way is known by a lock
of its transaction, which ends with it; so nobody is told so by what a dead process left behind.

Only successes are kept: a refusal has changed nothing, and is judged anew.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.authentication import caller
from organizations.models import KeptAnswer, Membership
from organizations.permissions import require_membership
from organizations.viewsets import ScopedViewSet
from rivergen.http.exceptions import Conflict
from rivergen.http.openapi import IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED

KEY = re.compile(r"[ -~]{1,255}")
# A string of RFC 9651, as draft-ietf-httpapi-idempotency-key-header has it.
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
KEPT_HEADERS = ("ETag", "Location")


class KeyInUse(Conflict):
    """The first request with this key is still under way."""

    error_code = "IDEMPOTENCY_KEY_IN_USE"
    default_detail = "A request with this Idempotency-Key is still under way. Try again shortly."
    wait = 1


class KeyReused(APIException):
    """The key has come with another request before."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    error_code = "IDEMPOTENCY_KEY_REUSED"
    default_detail = (
        "Another request has come with this Idempotency-Key; nothing was changed by this one. "
        "Each request needs a key of its own, and keeps it when it is sent again."
    )


class IdempotentRequest:
    """A request with a key."""

    def __init__(self, view: ScopedViewSet, key: str, body: bytes) -> None:
        self._view = view
        self._user = caller(view.request)
        self._key = key
        self._fingerprint = fingerprint(view.request, body)

    @classmethod
    def of(cls, view: ScopedViewSet) -> Self | None:
        """Read the key of the request at hand, and its body; None without a key.

        Raises ValidationError (400) for a bad key, and then 401 or 403 to whom that is due first.
        """
        text = view.request.headers.get(IDEMPOTENCY_KEY)
        if text is None:
            return None
        try:
            return cls(view, read_key(text), view.request.body)
        except RequestDataTooBig:
            return None  # it will be refused, each time
        except ValidationError:
            require_membership(caller(view.request))
            raise

    def lock(self) -> bool:
        """Mark it as under way until the transaction ends; False: another one is.

        Nobody waits, and a pooler in transaction mode does not mind.
        """
        name = f"{self._user.pk} {self._key}".encode()
        number = int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
            return bool(cursor.fetchone()[0])

    def kept_answer(self) -> HttpResponse | None:
        """Give what was answered the first time, if that is known.

        Raises KeyReused (422) if it was another request, and 401, 403 or 404 to whom the change
        would not be shown any more. A role that is lost meanwhile does not matter: nothing is done.
        """
        answers = KeptAnswer.objects.filter(user_id=self._user.pk, key=self._key)
        kept = answers.filter(kept_at__gt=KeptAnswer.kept_since()).first()
        if kept is None:
            return None
        require_membership(self._user)
        if kept.fingerprint != self._fingerprint:
            raise KeyReused
        memberships = Membership.objects.for_user(self._user)
        if not memberships.filter(organization=kept.organization_id).exists():
            raise NotFound
        return HttpResponse(
            bytes(kept.body),
            content_type="application/json",
            status=kept.status,
            headers={**kept.headers, IDEMPOTENCY_REPLAYED: "true"},
        )

    def keep(self, response: Response) -> None:
        """Store an answer as it is going to be sent, in the place of one that is outdated."""
        view = self._view
        view.finalize_response(view.request, response).render()
        values = {
            "fingerprint": self._fingerprint,
            "organization_id": view.organization_id,
            "status": response.status_code,
            "headers": {name: response[name] for name in KEPT_HEADERS if name in response},
            "body": response.content,
            "kept_at": Now(),
        }
        KeptAnswer.objects.bulk_create(
            [KeptAnswer(user_id=self._user.pk, key=self._key, **values)],
            update_conflicts=True,
            unique_fields=["user", "key"],
            update_fields=[name.removesuffix("_id") for name in values],
        )

    def uuid_for(self, purpose: Any) -> UUID:
        """Give an id for what this request has done on the way, the same each time it is sent.

        `purpose` is JSON, and may have secrets: the id tells nothing of it.
        """
        message = json.dumps([self._user.pk, self._key, self._fingerprint, purpose], sort_keys=True)
        digest = salted_hmac(f"{__name__}.uuid", message, algorithm="sha256").digest()
        return UUID(bytes=digest[:16], version=4)


def idempotent(act: Callable[..., Response]) -> Callable[..., HttpResponse]:
    """Have a method of a view, which changes something, do so once for each key.

    It adds nothing to a request without one. Stands below `transaction.atomic`, if that is there,
    so that both are one transaction. Raises KeyInUse (409), KeyReused (422), and 400.
    """

    @functools.wraps(act)
    def act_once(view: ScopedViewSet, *arguments: Any, **named: Any) -> HttpResponse:
        request = IdempotentRequest.of(view)
        if request is None:
            return act(view, *arguments, **named)
        with transaction.atomic():
            is_first = request.lock()
            # Not by the same statement: it has to see what was committed before the lock was free.
            if answer := request.kept_answer():
                return answer
            if not is_first:
                require_membership(caller(view.request))
                raise KeyInUse
            response = act(view, *arguments, **named)
            request.keep(response)
            return response

    return act_once


def read_key(text: str) -> str:
    """Read a key, quoted or bare. Raises ValidationError (400)."""
    key = text.strip()
    if key.startswith('"'):
        quoted = QUOTED.fullmatch(key)
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not KEY.fullmatch(key):
        sentence = "Must be 1 to 255 printable ASCII characters, as they are or in double quotes."
        raise ValidationError({IDEMPOTENCY_KEY: [sentence]})
    return key


def fingerprint(request: Request, body: bytes) -> str:
    """Digest all that makes a request another one, with a key: a body may be easy to guess."""
    parts = (
        request.method or "",
        request.path,
        request.META.get("QUERY_STRING", ""),
        request.headers.get("Content-Type", ""),
        request.headers.get("If-Match", ""),
    )
    message = json.dumps(parts).encode() + body
    return salted_hmac(f"{__name__}.fingerprint", message, algorithm="sha256").hexdigest()
