"""Sessions of the admin: limited in time, and found by a digest of the cookie's value."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

SIGNED_IN_AT = "signed_in_at"  # Unix time
LIFETIME = timedelta(hours=8)


class SessionStore(db.SessionStore):
    """Sessions in the database, which has no value that could be sent as a cookie.

    Only the synchronous methods: this service uses no others.
    """

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        rows = self.model.objects.filter(session_key=digest(self.session_key or ""))
        row = rows.filter(expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest(key))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends unless it is used, but no later than its lifetime allows."""
        end: datetime = super().get_expiry_date(**kwargs)
        if SIGNED_IN_AT not in self:
            return end
        return min(end, datetime.fromtimestamp(self[SIGNED_IN_AT], UTC) + LIFETIME)


def digest(session_key: str) -> str:
    """Return the key of a session's row, 40 characters. Without a key: a session id is random."""
    return hashlib.blake2b(session_key.encode(), digest_size=20).hexdigest()


@receiver(user_logged_in)
def begin_lifetime(request: HttpRequest, **kwargs: Any) -> None:
    """Note in the session when its user signed in."""
    request.session[SIGNED_IN_AT] = int(timezone.now().timestamp())
