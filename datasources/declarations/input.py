"""Reading and checking a request to apply declarations."""

from functools import partial
from typing import Any

from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request

from datasources.declarations.plan import Applier
from datasources.declarations.problems import DeclarationError
from datasources.declarations.reading import Declarations
from datasources.declarations.references import resolve_for
from datasources.declarations.text import Document
from datasources.viewsets import author_of, creating_roles
from organizations.authentication import caller
from organizations.models import ROLES_WITH, Organization, Role
from organizations.permissions import require_role
from rivergen.http.input import read_body, read_switch

# The data sources of a request are applied in one transaction, within the request.
DATA_SOURCES_MAX = 500
SECRETS_REFUSED = (
    f"A declaration with secrets needs the role {Role.ADMIN}; yours is {{role}}. Leave the secrets "
    "out, and set them with PUT /api/v1/data-sources/{{data_source_id}}/credentials."
)


def read_applier(request: Request) -> Applier:
    """Return an Applier of the declarations in the body, for the caller's organization.

    Creating and changing takes an editor. It takes an admin to prune, which deletes, and to refer
    to secrets: an editor could have them sent anywhere. Raises 400, 403 or DeclarationError.
    """
    user = caller(request)
    roles = creating_roles(user)
    body = read_body(request, parameters=["dry_run", "prune"])
    needed = Role.ADMIN if read_switch(request, "prune") else Role.EDITOR
    read_switch(request, "dry_run")
    document = body if isinstance(body, Document) else Document.of_json(body)
    declarations = Declarations(document, most=DATA_SOURCES_MAX)
    organization = find_organization(declarations.organization, roles)
    role = roles[organization.pk]
    require_role(role, needed)
    if declarations.refer_to_secrets and role not in ROLES_WITH[Role.ADMIN]:
        # Refused before any reference is read: the answer is the same whether the file exists.
        raise PermissionDenied(SECRETS_REFUSED.format(role=role))
    return Applier(
        declarations,
        organization,
        partial(resolve_for, organization.pk),
        author_of(request),
    )


def find_organization(slug: str | None, roles: dict[int, str]) -> Organization:
    """Return the caller's organization with this slug; without one, the only one. Raises 400."""
    organizations = Organization.objects.filter(pk__in=roles)
    if slug is not None:
        organization = organizations.filter(slug=slug).first()
        if organization is None:
            # Do not repeat the slug: an existing organization of others must get the same answer.
            sentence = "You are in no organization of this name."
            raise ValidationError({"organization": [sentence]})
        return organization
    if len(roles) > 1:
        sentence = "You are in several organizations. Name one here, by its short name."
        raise ValidationError({"organization": [sentence]})
    return organizations.get()


def details_of(error: DeclarationError) -> dict[str, Any]:
    """Return the problems as error details: by field, with the line if the body was YAML."""
    details: dict[str, list[str]] = {}
    for problem in error.problems:
        field = problem.field or "data_sources"
        line = f"Line {problem.line}: " if problem.line else ""
        details.setdefault(field, []).append(f"{line}{problem.message}")
    return details
