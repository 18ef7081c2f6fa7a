"""The admin site, with rules for all of its pages."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from psycopg.errors import UniqueViolation

from rivergen.errors import StateConflict

TAKEN = "Another request has just stored the same name. Choose another one."


class StrictAdmin(admin.ModelAdmin):
    """The rules of every admin, also of those of other packages."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show why a save failed although the form was valid: a lost race, or a quota."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except ValidationError as error:
            reason = " ".join(error.messages)
        except StateConflict as error:
            reason = str(error)
        except IntegrityError as error:
            if not isinstance(error.__cause__, UniqueViolation):
                raise
            reason = TAKEN
        messages.error(request, f"Nothing was saved. {reason}")
        return HttpResponseRedirect(request.get_full_path())

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse filters by regular expressions, which Django allows in the URL of any list.

        PostgreSQL would run them: some take minutes, and malformed ones end with 500.
        """
        return not lookup.endswith("regex") and super().lookup_allowed(lookup, value, request)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Refuse POST, which Django answers like GET: it would lock the row."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return super().history_view(request, *args, **kwargs)


class AdminSite(admin.AdminSite):
    """The site that every admin is registered with, also those of other packages."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        given = admin_class or admin.ModelAdmin
        strict = type(given.__name__, (StrictAdmin, given), {})
        super().register(model_or_iterable, strict, **options)


class AdminConfig(apps.AdminConfig):
    """Django's app of the admin, with this site."""

    default_site = "rivergen.http.admin.AdminSite"
