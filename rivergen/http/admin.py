"""What all admin pages of rivergen have in common."""

from django.contrib import admin
from django.http import HttpRequest


class PlainLookups(admin.ModelAdmin):
    """Refuse filters by regular expressions, which Django allows in the address of any list.

    PostgreSQL would run them: one takes minutes, another is malformed and ends with 500.
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return not lookup.endswith("regex") and super().lookup_allowed(lookup, value, request)
