"""The pages of the admin that take a password: to sign in, and to change one's own.

They have the limits of the API. Beyond a limit, the answer is 429 with `Retry-After`.
"""

import math
from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy
from rest_framework.exceptions import Throttled

from organizations.models import User
from organizations.sign_in.attempts import sign_in
from organizations.sign_in.throttling import count_sign_in
from rivergen.http.addresses import client_network


class LimitedForm(forms.Form):
    """A form with a password. `retry_after`: the seconds to wait after too many attempts."""

    retry_after: int | None = None

    def check_password(self, request: Any, username: str, password: str) -> User | None:
        """Return the user if the password is right; count the attempt.

        Raises ValidationError if there were too many attempts.
        """
        try:
            count_sign_in(request)
            return sign_in(username, password, client_network(request))
        except Throttled as error:
            self.retry_after = math.ceil(error.wait or 1)  # type: ignore[attr-defined]
            raise ValidationError(str(error.detail)) from None


class SignInForm(LimitedForm, AdminAuthenticationForm):
    """The login form."""

    def clean(self) -> dict[str, Any]:
        username, password = (self.cleaned_data.get(name) for name in ("username", "password"))
        if username is not None and password:
            assert self.request is not None
            self.user_cache = self.check_password(self.request, username, password)
            if self.user_cache is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(self.user_cache)
            # Django would keep the session id when the same user signs in again.
            self.request.session.flush()
        return self.cleaned_data


class OwnPasswordForm(LimitedForm, AdminPasswordChangeForm):
    """The form for a new password; a wrong current one counts as a failed sign-in."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        if self.check_password(self.request, self.user.get_username(), password) is None:
            raise ValidationError(self.error_messages["password_incorrect"])
        return password


class OwnPasswordView(PasswordChangeView):
    """The page on which staff change their own password."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request}

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return super().get_context_data(**admin.site.each_context(self.request), **context)


def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Serve the login page."""
    return with_retry_after(admin.site.login(request))


def own_password_page(request: HttpRequest) -> HttpResponse:
    """Serve the page for a new password to staff who are signed in."""
    page: Any = admin.site.admin_view(OwnPasswordView.as_view())
    return with_retry_after(page(request))


def with_retry_after(response: Any) -> HttpResponse:
    """Return a page, as a 429 if its form was refused after too many attempts."""
    form = (getattr(response, "context_data", None) or {}).get("form")
    if isinstance(form, LimitedForm) and form.retry_after is not None:
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response["Retry-After"] = str(form.retry_after)
    page: HttpResponse = response
    return page
