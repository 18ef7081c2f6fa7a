"""The filters of the lists of organizations, members and workspaces: what has exactly this name."""

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema_field

from rivergen.http.filters import NameField


class NameFilter(django_filters.Filter):
    """Filter by a whole name."""

    field_class = NameField


def named(words: str, max_length: int, **options: Any) -> Any:
    """Return the filter of a parameter for names, with its description."""
    schema = {"type": "string", "minLength": 1, "maxLength": max_length, "format": "name"}
    described: Any = extend_schema_field({**schema, "description": words})
    return described(NameFilter(max_length=max_length, **options))


class OrganizationFilter(django_filters.FilterSet):
    """The filters of `GET /organizations`."""

    name = named("With exactly this name, ignoring case.", 255, lookup_expr="iexact")
    slug = named("With exactly this short name. There is at most one.", 63)


class MemberFilter(django_filters.FilterSet):
    """The filters of `GET /organizations/{organization_id}/members`."""

    username = named(
        "Whose user has exactly this username. There is at most one.",
        150,
        field_name="user__username",
    )


class WorkspaceFilter(django_filters.FilterSet):
    """The filters of `GET /organizations/{organization_id}/workspaces`."""

    name = named("With exactly this name, ignoring case.", 255, lookup_expr="iexact")
