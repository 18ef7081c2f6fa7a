"""Descriptions of the endpoints for openapi.json: the caller, organizations, members, workspaces.

The examples show the demo of `make run`.
"""

from datetime import UTC, datetime
from typing import Any

from organizations.exceptions import LastOwner, LastWorkspace, QuotaExceeded, WorkspaceInUse
from organizations.models import Membership, Organization, Role, User, Workspace
from organizations.serializers import (
    MemberCreateSerializer,
    MemberSerializer,
    MemberUpdateSerializer,
    MeSerializer,
    OrganizationSerializer,
    OrganizationUpdateSerializer,
    WorkspaceSerializer,
    WorkspaceWriteSerializer,
)
from rivergen.http.openapi.examples import answer, body, failure, page

DATA_SOURCES_QUOTA = failure("Too many data sources", QuotaExceeded("data_sources", 10_000))
HISTORY_QUOTA = failure("Too much history", QuotaExceeded("history_bytes", 1024**3))
CREATED_AT = datetime(2024, 12, 1, 10, tzinfo=UTC)
MEMBERS = {
    1: ("demo-owner", Role.OWNER),
    2: ("demo-admin", Role.ADMIN),
    3: ("demo-editor", Role.EDITOR),
    4: ("demo-viewer", Role.VIEWER),
}


def organization(name: str = "Acme") -> Any:
    """Return the organization of the demo as the API shows it to its owner."""
    acme = Organization(id=1, name=name, slug="demo-acme", created_at=CREATED_AT)
    acme.role = Role.OWNER
    return OrganizationSerializer(acme).data


def member(user_id: int, username: str, role: str) -> Any:
    """Return a member as the API shows it."""
    user = User(id=user_id, username=username)
    return MemberSerializer(Membership(user=user, role=role, created_at=CREATED_AT)).data


def workspace(id: int, name: str) -> Any:
    """Return a workspace of the demo as the API shows it."""
    found = Workspace(id=id, organization_id=1, name=name, created_at=CREATED_AT)
    return WorkspaceSerializer(found).data


ME: dict[str, Any] = {
    "summary": "Get the caller",
    "description": "Return the user of the access token, and the role in each of its "
    "organizations. Any user may ask, also one without an organization.",
    "response": MeSerializer,
    "errors": (401,),
    "examples": (
        answer(
            {
                "id": 1,
                "username": "demo-owner",
                "email": "",
                "first_name": "",
                "last_name": "",
                "memberships": [
                    {
                        "organization_id": 1,
                        "organization_name": "Acme",
                        "organization_slug": "demo-acme",
                        "role": "owner",
                    }
                ],
            },
            "User retrieved successfully",
        ),
    ),
}
LIST: dict[str, Any] = {
    "summary": "List organizations",
    "description": "Return the organizations that the caller belongs to, with the caller's role in "
    "each. Any member may ask.",
    "response": OrganizationSerializer,
    "many": True,
    "errors": (401, 403),
    "examples": (page([organization()], "Organizations retrieved successfully"),),
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get an organization",
    "description": "Return one organization. Any member may ask.",
    "response": OrganizationSerializer,
    "errors": (401, 403, 404),
    "examples": (answer(organization(), "Organization retrieved successfully"),),
}
UPDATE: dict[str, Any] = {
    "summary": "Update an organization",
    "description": "Change the name, or whether changes of data sources need `If-Match`, and "
    "return the organization. Needs the role admin.",
    "request": OrganizationUpdateSerializer,
    "response": OrganizationSerializer,
    "errors": (401, 403, 404),
    "examples": (
        body("A new name", {"name": "Acme Ltd."}),
        body("Changes without If-Match are fine", {"requires_if_match": False}),
        answer(organization("Acme Ltd."), "Organization updated successfully"),
    ),
}
REMOVE: dict[str, Any] = {
    "summary": "Remove an organization",
    "description": "Remove an organization with its workspaces, its data sources and their "
    "history. This cannot be undone. Needs the role owner.",
    "status": 204,
    "errors": (401, 403, 404, 413, 415),
}
LIST_MEMBERS: dict[str, Any] = {
    "summary": "List members",
    "description": "Return the members of an organization, in the order in which they joined. Any "
    "member may ask.",
    "response": MemberSerializer,
    "many": True,
    "errors": (401, 403, 404),
    "examples": (
        page([member(id, *who) for id, who in MEMBERS.items()], "Members retrieved successfully"),
    ),
}
RETRIEVE_MEMBER: dict[str, Any] = {
    "summary": "Get a member",
    "description": "Return one member of an organization. Any member may ask.",
    "response": MemberSerializer,
    "errors": (401, 403, 404),
    "examples": (answer(member(4, *MEMBERS[4]), "Member retrieved successfully"),),
}
ADD_MEMBER: dict[str, Any] = {
    "summary": "Add a member",
    "operation_id": "addMember",
    "description": "Make an existing user a member, and return the membership. Needs the role "
    "admin; to add an owner, the role owner.",
    "request": MemberCreateSerializer,
    "response": MemberSerializer,
    "status": 201,
    "errors": (401, 403, 404, 409),
    "headers": ("Location",),
    "examples": (
        body("A viewer", {"username": "demo-stranger", "role": "viewer"}),
        answer(member(5, "demo-stranger", "viewer"), "Member added successfully", status=201),
        failure("Too many members", QuotaExceeded("members", 10_000)),
    ),
}
UPDATE_MEMBER: dict[str, Any] = {
    "summary": "Change a member's role",
    "description": "Give a member another role, in force from the next request on, and return the "
    "membership. Needs the role admin; to make or unmake an owner, the role owner.",
    "request": MemberUpdateSerializer,
    "response": MemberSerializer,
    "errors": (401, 403, 404, 409),
    "examples": (
        body("The viewer becomes an editor", {"role": "editor"}),
        answer(member(4, "demo-viewer", "editor"), "Member updated successfully"),
        failure("The last owner", LastOwner("Acme")),
    ),
}
REMOVE_MEMBER: dict[str, Any] = {
    "summary": "Remove a member",
    "operation_id": "removeMember",
    "description": "End a membership, in force from the next request on. The user stays. Needs the "
    "role admin; to remove an owner, the role owner. The last owner cannot be removed.",
    "status": 204,
    "errors": (401, 403, 404, 409, 413, 415),
    "examples": (failure("The last owner", LastOwner("Acme")),),
}
LIST_WORKSPACES: dict[str, Any] = {
    "summary": "List workspaces",
    "description": "Return the workspaces of an organization, the default one first. Any member "
    "may ask.",
    "response": WorkspaceSerializer,
    "many": True,
    "errors": (401, 403, 404),
    "examples": (page([workspace(1, "Default")], "Workspaces retrieved successfully"),),
}
RETRIEVE_WORKSPACE: dict[str, Any] = {
    "summary": "Get a workspace",
    "description": "Return one workspace of an organization. Any member may ask.",
    "response": WorkspaceSerializer,
    "errors": (401, 403, 404),
    "examples": (answer(workspace(1, "Default"), "Workspace retrieved successfully"),),
}
ADD_WORKSPACE: dict[str, Any] = {
    "summary": "Add a workspace",
    "description": "Add an empty workspace to an organization, and return it. Needs the role "
    "admin.",
    "request": WorkspaceWriteSerializer,
    "response": WorkspaceSerializer,
    "status": 201,
    "errors": (401, 403, 404, 409),
    "headers": ("Location",),
    "examples": (
        body("A workspace", {"name": "Analytics"}),
        answer(workspace(3, "Analytics"), "Workspace created successfully", status=201),
        failure("Too many workspaces", QuotaExceeded("workspaces", 1_000)),
    ),
}
RENAME_WORKSPACE: dict[str, Any] = {
    "summary": "Rename a workspace",
    "description": "Change the name of a workspace, and return it. Its data sources stay in it. "
    "Needs the role admin.",
    "request": WorkspaceWriteSerializer,
    "response": WorkspaceSerializer,
    "errors": (401, 403, 404),
    "examples": (
        body("A new name", {"name": "Production"}),
        answer(workspace(1, "Production"), "Workspace updated successfully"),
    ),
}
REMOVE_WORKSPACE: dict[str, Any] = {
    "summary": "Remove a workspace",
    "description": "Remove a workspace without data sources. An organization keeps at least one. "
    "Needs the role admin.",
    "status": 204,
    "errors": (401, 403, 404, 409, 413, 415),
    "examples": (
        failure("Data sources in it", WorkspaceInUse()),
        failure("The last workspace", LastWorkspace()),
    ),
}
