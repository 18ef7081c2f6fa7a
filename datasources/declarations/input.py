"""What a request to apply declarations brings."""

from functools import partial
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.declarations.plan import Applier
from datasources.declarations.problems import DeclarationError
from datasources.declarations.reading import Declarations
from datasources.declarations.references import resolve_for
from datasources.declarations.text import Document
from datasources.viewsets import author_of, creating_roles
from organizations.authentication import caller
from organizations.models import Organization, Role
from organizations.permissions import require_role
from rivergen.http.input import read_body, read_switch

# All of them in one transaction, in a request.
DATA_SOURCES_MAX = 500


def read_application(request: Request) -> Applier:
    """Give what is to be applied, and where. Raises 400, 401, 403 or DeclarationError.

    An editor may create and change; to prune, which deletes, takes an admin.
    """
    user = caller(request)
    roles = creating_roles(user)
    body = read_body(request, parameters=["dry_run", "prune"])
    needed = Role.ADMIN if read_switch(request, "prune") else Role.EDITOR
    read_switch(request, "dry_run")
    document = body if isinstance(body, Document) else Document.of_json(body)
    declarations = Declarations(document, most=DATA_SOURCES_MAX)
    organization = find_organization(declarations.organization, roles)
    require_role(roles[organization.pk], needed)
    return Applier(
        declarations,
        organization,
        partial(resolve_for, organization.pk),
        author_of(request),
    )


def find_organization(slug: str | None, roles: dict[int, str]) -> Organization:
    """Give the caller's organization of a short name, or the only one. Raises 400."""
    organizations = Organization.objects.filter(pk__in=roles)
    if slug is not None:
        organization = organizations.filter(slug=slug).first()
        if organization is None:
            sentence = "There is no such organization among yours."
            raise ValidationError({"organization": [sentence]})
        return organization
    if len(roles) > 1:
        sentence = "You are in several organizations; say which one is meant."
        raise ValidationError({"organization": [sentence]})
    return organizations.get()


def details_of(error: DeclarationError) -> dict[str, Any]:
    """Give the problems by field, each with its line if the body was YAML."""
    details: dict[str, list[str]] = {}
    for problem in error.problems:
        field = problem.field or "data_sources"
        line = f"Line {problem.line}: " if problem.line else ""
        details.setdefault(field, []).append(f"{line}{problem.message}")
    return details
