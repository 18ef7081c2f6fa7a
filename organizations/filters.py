"""The filters of the lists of organizations, members and workspaces: what has exactly this name."""

import django_filters

from rivergen.http.filters import by_name


class OrganizationFilter(django_filters.FilterSet):
    """The filters of `GET /organizations`."""

    name = by_name("With exactly this name, ignoring case.", 255, lookup_expr="iexact")
    slug = by_name("With exactly this short name. There is at most one.", 63)


class MemberFilter(django_filters.FilterSet):
    """The filters of `GET /organizations/{organization_id}/members`."""

    username = by_name(
        "Whose user has exactly this username. There is at most one.",
        150,
        field_name="user__username",
    )


class WorkspaceFilter(django_filters.FilterSet):
    """The filters of `GET /organizations/{organization_id}/workspaces`."""

    name = by_name("With exactly this name, ignoring case.", 255, lookup_expr="iexact")
