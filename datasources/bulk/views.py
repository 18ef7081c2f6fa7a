"""The endpoint that updates many data sources."""

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from datasources.bulk import openapi
from datasources.bulk.exceptions import NeedsSavepoints, SomeFailed, count_failed
from datasources.bulk.input import Updates
from datasources.bulk.updating import Updater
from datasources.viewsets import DataSourceScopedViewSet
from organizations.permissions import require_membership
from organizations.writing import write
from rivergen.http.openapi.describing import describe
from rivergen.http.responses import SuccessResponse


class UpdateManyMixin(DataSourceScopedViewSet):
    """`PATCH /data-sources`."""

    @describe(**openapi.UPDATE_MANY)
    def update_many(self, request: Request) -> HttpResponse:
        """Change the given fields of many data sources (editor, admin, owner)."""
        try:
            return self.store_many(request)
        except NeedsSavepoints:
            return self.store_many(request, has_savepoints=True)

    @write()
    def store_many(self, request: Request, has_savepoints: bool = False) -> Response:
        """Store many updates: all or none, or with `?atomic=false` each that is valid."""
        updates = self.read_updates(request)
        updater = Updater(updates, self.caller, self.author, has_savepoints)
        if not updater.finds_all:
            require_membership(self.caller)
        results = updater.make_all()
        self.found_in(updater.organization_ids)
        failed = count_failed(results)
        if failed and updates.is_atomic and not updates.is_dry_run:
            raise SomeFailed(results)
        return SuccessResponse(
            results, message(updates, failed), changed_nothing=updates.is_dry_run
        )

    def read_updates(self, request: Request) -> Updates:
        """Return the updates in the body. Raises 401 and 403 before 400, 413 and 415."""
        try:
            return Updates.of(request)
        except Exception:
            require_membership(self.caller)
            raise


def message(updates: Updates, failed: int) -> str:
    """Return the message of a success."""
    total = len(updates.all)
    if updates.is_dry_run:
        return f"{failed} of {total} updates would fail; nothing was stored"
    return f"{total - failed} of {total} data sources updated successfully"
