"""The login page of the admin, with the limits of the API."""

import math
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import Throttled

from organizations.sign_in.attempts import sign_in
from organizations.sign_in.throttling import SignInThrottle, count_sign_in


class SignInForm(AdminAuthenticationForm):
    """The login form. `retry_after`: the seconds to wait, if there were too many attempts."""

    retry_after: int | None = None

    def clean(self) -> dict[str, Any]:
        username, password = (self.cleaned_data.get(name) for name in ("username", "password"))
        if username is not None and password:
            try:
                count_sign_in(self.request)
                address = SignInThrottle().address_of(self.request)
                self.user_cache = sign_in(username, password, address)
            except Throttled as error:
                self.retry_after = math.ceil(error.wait or 1)  # type: ignore[attr-defined]
                raise ValidationError(str(error.detail)) from None
            if self.user_cache is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(self.user_cache)
            assert self.request is not None
            # Django would keep the session id when the same user signs in again.
            self.request.session.flush()
        return self.cleaned_data


def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Serve the login page: 429 with `Retry-After` if there were too many attempts."""
    response: HttpResponse = admin.site.login(request)
    form = (getattr(response, "context_data", None) or {}).get("form")
    if isinstance(form, SignInForm) and form.retry_after is not None:
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response["Retry-After"] = str(form.retry_after)
    return response
