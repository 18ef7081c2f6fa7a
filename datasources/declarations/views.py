"""Declarations over HTTP, for whoever keeps them beside the code."""

from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from datasources.declarations import openapi
from datasources.declarations.input import details_of, read_application
from datasources.declarations.parsers import YAMLParser
from datasources.declarations.problems import DeclarationError
from datasources.declarations.serializers import PlanSerializer
from organizations.viewsets import ScopedViewSet
from organizations.writing import write
from rivergen.http.input import read_switch
from rivergen.http.parsers import StrictJSONParser
from rivergen.http.responses import SuccessResponse


class DeclarationViewSet(ScopedViewSet):
    """The data sources of an organization, as one document."""

    http_method_names = ["post"]
    serializer_class = PlanSerializer

    def get_parsers(self) -> list[BaseParser]:
        return [StrictJSONParser(), YAMLParser()]

    @write(**openapi.APPLY)
    def apply(self, request: Request) -> Response:
        """Create and change what is declared, all or nothing (editor; with `prune`: admin).

        The body may be `application/yaml`, too, whose mistakes are named with their lines.
        """
        try:
            applier = read_application(request)
            self.organization_id = applier.organization.pk
            prune, dry_run = (read_switch(request, name) for name in ("prune", "dry_run"))
            plan = applier.apply(prune=prune, dry_run=dry_run)
        except DeclarationError as error:
            raise ValidationError(details_of(error)) from None
        message = "The declarations are valid; nothing was stored" if dry_run else "Applied"
        return SuccessResponse(self.get_serializer(plan).data, message)
