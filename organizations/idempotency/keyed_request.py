"""`Idempotency-Key`: a request that is sent again, because its answer was lost, is done once.

The answer is stored in the transaction of the change, so both are stored or neither, even if a
process is killed. While the first request is in flight, it holds an advisory lock, which ends with
the transaction.

Only successes are stored: a refused request has changed nothing, so a retry is checked again. A
large answer to a request that changed nothing is not stored, only the digest of the request.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import HttpResponse
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.idempotency.exceptions import KeyInUse, KeyReused
from organizations.idempotency.models import RECORD_BYTES, IdempotencyRecord, KeptAnswers
from organizations.models import Membership, Organization
from organizations.permissions import require_membership
from organizations.viewsets import ScopedViewSet
from rivergen.http.exceptions import NoSuchResource
from rivergen.http.openapi.schema import IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED

KEY = re.compile(r"[ -~]{1,255}")
# A string of RFC 9651, as draft-ietf-httpapi-idempotency-key-header has it.
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
QUOTED_MAX_LENGTH = 2 * 255 + 2  # each character escaped
STORED_HEADERS = ("ETag", "Location")
# An answer that can be made again is stored nonetheless if it takes no more than this.
SMALL_BYTES = 4096


class KeyedRequest:
    """A request with an `Idempotency-Key`."""

    def __init__(self, view: ScopedViewSet, key: str, body: bytes) -> None:
        self._view = view
        self._user = view.caller
        self._key = key
        self._body = body
        self._fingerprint = fingerprint(view.request, body)

    @classmethod
    def of(cls, view: ScopedViewSet) -> Self | None:
        """Return the view's request with its key; None if it has no key.

        Raises ValidationError (400) for a malformed key, unless the caller is due 401 or 403.
        """
        text = view.request.headers.get(IDEMPOTENCY_KEY)
        if text is None:
            return None
        try:
            return cls(view, read_key(text), view.request.body)
        except RequestDataTooBig:
            return None  # refused with 413 each time, so there is nothing to store
        except ValidationError:
            require_membership(view.caller)
            raise

    def answer_once(self, perform: Callable[[], Response]) -> HttpResponse:
        """Return the stored answer, or perform the request and store its answer.

        Must run in the transaction of the change. Raises KeyInUse (409) and KeyReused (422).
        """
        is_first = self._lock()
        # A separate statement: it must see what was committed before the lock was released.
        if answer := self.stored_answer(perform):
            return answer
        if not is_first:
            require_membership(self._user)
            raise KeyInUse
        response = perform()
        self.store(response)
        return response

    def _lock(self) -> bool:
        """Lock the key until the transaction ends; return False if another request has it.

        Never waits. An advisory lock of a transaction also works behind a transaction pooler.
        """
        name = f"{self._user.pk} {self._key}".encode()
        number = int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
            return bool(cursor.fetchone()[0])

    def stored_answer(self, perform: Callable[[], Response] | None = None) -> HttpResponse | None:
        """Return the answer to the first request with this key, or None if there is none.

        An answer that was stored without its body is made again and shows the current state, by
        `perform`, which performs the request, where the view needs that. Raises KeyReused (422) if
        the first request was a different one, and 401, 403 or 404 if the caller may not see the
        result any more. The caller's role does not matter: nothing changes.
        """
        records = IdempotencyRecord.objects.filter(user_id=self._user.pk, key=self._key)
        record = records.filter(stored_at__gt=IdempotencyRecord.valid_since()).first()
        if record is None:
            return None
        require_membership(self._user)
        if not self._has_made(record):
            raise KeyReused
        shown = {record.organization_id, *record.other_organizations}
        memberships = Membership.objects.for_user(self._user)
        if memberships.filter(organization__in=shown).count() < len(shown):
            raise NoSuchResource
        if record.body is None:
            response = self._view.answer_again(perform)
            response[IDEMPOTENCY_REPLAYED] = "true"
            return response
        return HttpResponse(
            bytes(record.body),
            content_type="application/json",
            status=record.status,
            headers={**record.headers, IDEMPOTENCY_REPLAYED: "true"},
        )

    def _has_made(self, record: IdempotencyRecord) -> bool:
        """Return whether the record is of this request, perhaps under an older SECRET_KEY."""
        older = [
            fingerprint(self._view.request, self._body, key)
            for key in settings.SECRET_KEY_FALLBACKS
        ]
        return record.fingerprint in (self._fingerprint, *older)

    def store(self, response: Response) -> None:
        """Store an answer as it will be sent, in place of an outdated one of the same key.

        A large answer that can be made again is stored without its body. Raises QuotaExceeded
        (409) if the organization has too many answers: then the change must be rolled back, because
        a retry could not be recognized.
        """
        view = self._view
        view.finalize_response(view.request, response).render()
        assert view.organization_id is not None
        can_be_made_again = getattr(response, "changed_nothing", False)
        is_kept = len(response.content) <= SMALL_BYTES or not can_be_made_again
        record = IdempotencyRecord(
            user_id=self._user.pk,
            key=self._key,
            fingerprint=self._fingerprint,
            organization_id=view.organization_id,
            other_organizations=[*view.other_organization_ids],
            status=response.status_code,
            headers={name: response[name] for name in STORED_HEADERS if name in response},
            body=response.content if is_kept else None,
        )
        used, own_quota = record.store()
        organization = Organization(quota_kept_answer_bytes=own_quota)
        organization.check_quota("kept_answer_bytes", used)

    def require_room(self) -> None:
        """Raise QuotaExceeded (409) if the answer to this request could not be stored."""
        organization_id = self._view.organization_id
        assert organization_id is not None
        organization = Organization.objects.get(pk=organization_id)
        used = KeptAnswers.by_organization(organization.pk).get(organization.pk, 0)
        organization.check_quota("kept_answer_bytes", int(used) + RECORD_BYTES)

    def uuid_for(self, purpose: Any) -> UUID:
        """Return an id for a side effect of this request; retries of the request get the same id.

        `purpose` is JSON and may hold secrets: the id is a keyed digest and reveals none of it.
        """
        message = json.dumps([self._user.pk, self._key, self._fingerprint, purpose], sort_keys=True)
        digest = salted_hmac("rivergen.idempotency.uuid", message, algorithm="sha256").digest()
        return UUID(bytes=digest[:16], version=4)


def read_key(text: str) -> str:
    """Read a key, quoted or bare. Raises ValidationError (400)."""
    key = text.strip()
    if key.startswith('"'):
        # Check the length first: the pattern takes much memory for each character.
        quoted = QUOTED.fullmatch(key) if len(key) <= QUOTED_MAX_LENGTH else None
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not KEY.fullmatch(key):
        sentence = "Must be 1 to 255 printable ASCII characters, bare or in double quotes."
        raise ValidationError({IDEMPOTENCY_KEY: [sentence]})
    return key


def fingerprint(request: Request, body: bytes, secret_key: str | None = None) -> str:
    """Return a digest of all that distinguishes two requests; keyed, as bodies can be guessed.

    The default key is SECRET_KEY.
    """
    parts = (
        request.method or "",
        request.path,
        request.META.get("QUERY_STRING", ""),
        request.headers.get("Content-Type", ""),
        request.headers.get("If-Match", ""),
    )
    message = json.dumps(parts).encode() + body
    salt = "rivergen.idempotency.fingerprint"
    return salted_hmac(salt, message, secret=secret_key, algorithm="sha256").hexdigest()
