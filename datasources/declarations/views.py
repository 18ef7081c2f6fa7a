"""The endpoint that applies declarations."""

from collections.abc import Callable

from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from datasources.declarations import openapi
from datasources.declarations.input import details_of, read_applier
from datasources.declarations.parsers import YAMLParser
from datasources.declarations.problems import DeclarationError
from datasources.declarations.serializers import PlanSerializer
from organizations.viewsets import ScopedViewSet
from organizations.writing import write
from rivergen.http.input import read_switch
from rivergen.http.pagination import PAGE_BYTES_MAX, json_bytes
from rivergen.http.parsers import StrictJSONParser
from rivergen.http.responses import SuccessResponse

TOO_MANY_CHANGES = (
    f"The changes are larger than {PAGE_BYTES_MAX:,} bytes, with the old values. Nothing was "
    "changed. Split the document."
)


class DeclarationViewSet(ScopedViewSet):
    """Declarations: the data sources of an organization in one document."""

    http_method_names = ["post"]
    serializer_class = PlanSerializer

    def get_parsers(self) -> list[BaseParser]:
        return [StrictJSONParser(), YAMLParser()]

    @write(**openapi.APPLY)
    def apply(self, request: Request) -> Response:
        """Create and change the declared data sources, all or none (editor; with `prune`: admin).

        The body may also be `application/yaml`; problems in it are reported with their lines.
        """
        try:
            applier = read_applier(request)
            self.organization_id = applier.organization.pk
            prune, dry_run = (read_switch(request, name) for name in ("prune", "dry_run"))
            plan = applier.apply(prune=prune, dry_run=dry_run)
        except DeclarationError as error:
            raise ValidationError(details_of(error)) from None
        if json_bytes([step.changes for step in plan.steps]) > PAGE_BYTES_MAX:
            raise ValidationError({"data_sources": [TOO_MANY_CHANGES]})
        message = "The declarations are valid; nothing was stored" if dry_run else "Applied"
        data = self.get_serializer(plan).data
        return SuccessResponse(data, message, changed_nothing=dry_run)

    def answer_again(self, perform: Callable[[], Response] | None) -> Response:
        """Return the plan of a dry run as it would be now."""
        assert perform is not None
        return perform()
