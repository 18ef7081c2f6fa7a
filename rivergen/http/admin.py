"""The admin site, with rules for all of its pages."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed


class StrictAdmin(admin.ModelAdmin):
    """The rules of every admin, also of those of other packages."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse filters by regular expressions, which Django allows in the address of any list.

        PostgreSQL would run them: one takes minutes, another is malformed and ends with 500.
        """
        return not lookup.endswith("regex") and super().lookup_allowed(lookup, value, request)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Refuse POST, which Django answers like GET, but which locks rows in our admins."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return super().history_view(request, *args, **kwargs)


class AdminSite(admin.AdminSite):
    """The site that every admin is registered with, also those of other packages."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        given = admin_class or admin.ModelAdmin
        strict = type(given.__name__, (StrictAdmin, given), {})
        super().register(model_or_iterable, strict, **options)
