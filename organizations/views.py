"""The endpoints of the caller, organizations, members and workspaces."""

from http import HTTPStatus
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from organizations import openapi
from organizations.authentication import REVOKED, caller
from organizations.filters import MemberFilter, OrganizationFilter, WorkspaceFilter
from organizations.models import Membership, Organization, Role, User, Workspace
from organizations.permissions import IsAuthenticated, require_role
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
from organizations.viewsets import ScopedViewSet
from organizations.writing import write
from rivergen.http.exceptions import InvalidToken
from rivergen.http.input import check_parameters, read_body, read_no_body
from rivergen.http.openapi.describing import describe
from rivergen.http.responses import SuccessResponse


class MeView(APIView):
    """The user who sends the request."""

    http_method_names = ["get", "head"]
    permission_classes = (IsAuthenticated,)

    @describe(**openapi.ME)
    def get(self, request: Request) -> Response:
        """Return the caller and the caller's memberships, which may be none."""
        user = (
            User.objects.filter(pk=caller(request).pk, is_active=True)
            .prefetch_related("memberships__organization")
            .first()
        )
        if user is None:
            raise InvalidToken(REVOKED)
        check_parameters(request)
        return SuccessResponse(MeSerializer(user).data, "User retrieved successfully")


class OrganizationViewSet(ScopedViewSet):
    """The organizations the caller belongs to."""

    queryset = Organization.objects.none()  # names the model to openapi.json
    filterset_class = OrganizationFilter
    http_method_names = ["get", "head", "patch", "delete"]
    lookup_url_kwarg = "organization_id"
    lookup_value_regex = "[^/]+"
    serializer_class = OrganizationSerializer
    ordering = "name"
    ordering_fields = ("name", "created_at")

    def get_queryset(self) -> QuerySet[Organization]:
        return Organization.objects.for_user(self.caller)

    @describe(**openapi.LIST)
    def list(self, request: Request) -> Response:
        """List the organizations the caller belongs to."""
        return self.list_page(request, "Organizations retrieved successfully")

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, organization_id: str) -> Response:
        """Return one organization."""
        organization = self.get_object()
        check_parameters(request)
        data = OrganizationSerializer(organization).data
        return SuccessResponse(data, "Organization retrieved successfully")

    @write(**openapi.UPDATE)
    def partial_update(self, request: Request, organization_id: str) -> Response:
        """Change the name or the policy of an organization (admin, owner)."""
        organization = self.get_object()
        require_role(organization.role, Role.ADMIN)
        serializer = OrganizationUpdateSerializer(data=read_body(request), partial=True)
        serializer.is_valid(raise_exception=True)
        if serializer.validated_data:
            organization.change(serializer.validated_data)
        data = OrganizationSerializer(organization).data
        return SuccessResponse(data, "Organization updated successfully")

    @write(**openapi.REMOVE)
    def destroy(self, request: Request, organization_id: str) -> Response:
        """Remove an organization and everything in it (owner)."""
        organization = self.get_object()
        require_role(organization.role, Role.OWNER)
        read_no_body(request)
        organization.remove()
        return Response(status=HTTPStatus.NO_CONTENT)


class BelowOrganizationViewSet(ScopedViewSet):
    """The base of the endpoints below `/organizations/{organization_id}/`."""

    lookup_value_regex = "[^/]+"

    def get_organization(self, role: Role = Role.VIEWER) -> Organization:
        """Return the organization in the path. Raises 401, 403 (also below `role`) or 404."""
        organizations = Organization.objects.for_user(self.caller)
        organization: Organization = self.find(organizations, self.kwargs["organization_id"])
        require_role(organization.role, role)
        return organization

    def get_locked_organization(self, role: Role) -> Organization:
        """Return the organization in the path; until the commit its memberships cannot change."""
        Organization.objects.lock(self.get_organization(role).pk)
        return self.get_organization(role)


class MemberViewSet(BelowOrganizationViewSet):
    """The members of an organization."""

    queryset = Membership.objects.none()
    filterset_class = MemberFilter
    http_method_names = ["get", "head", "post", "patch", "delete"]
    lookup_url_kwarg = "user_id"
    serializer_class = MemberSerializer

    def get_queryset(self) -> QuerySet[Membership]:
        return self.get_organization().memberships.select_related("user")

    def get_member(self, organization: Organization) -> Membership:
        """Return the membership in the path. Raises 404, or 403 if only an owner may change it."""
        members = organization.memberships.select_related("user")
        member: Membership = self.find(members, self.kwargs["user_id"], field="user_id")
        if member.role == Role.OWNER:
            require_role(organization.role, Role.OWNER)
        return member

    @describe(**openapi.LIST_MEMBERS)
    def list(self, request: Request, organization_id: str) -> Response:
        """List the members of an organization, in the order they joined."""
        return self.list_page(request, "Members retrieved successfully")

    @describe(**openapi.RETRIEVE_MEMBER)
    def retrieve(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Return one member of an organization."""
        member = self.find(self.get_queryset(), user_id, field="user_id")
        check_parameters(request)
        return SuccessResponse(MemberSerializer(member).data, "Member retrieved successfully")

    @write(**openapi.ADD_MEMBER)
    def create(self, request: Request, organization_id: str) -> Response:
        """Add an existing user as a member (admin, owner; only owners may add owners)."""
        organization = self.get_organization(Role.ADMIN)
        serializer = MemberCreateSerializer(data=read_body(request))
        serializer.is_valid(raise_exception=True)
        require_role(organization.role, Role(serializer.validated_data["role"]))
        member = organization.add_member(**serializer.validated_data)
        data = MemberSerializer(member).data
        headers = {"Location": f"/api/v1/organizations/{organization.pk}/members/{member.user_id}"}
        return SuccessResponse(data, "Member added successfully", HTTPStatus.CREATED, headers)

    @write(**openapi.UPDATE_MEMBER)
    def partial_update(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Change the role of a member (admin, owner; only owners may add or demote owners)."""
        organization = self.get_locked_organization(Role.ADMIN)
        member = self.get_member(organization)
        serializer = MemberUpdateSerializer(data=read_body(request), partial=True)
        serializer.is_valid(raise_exception=True)
        if role := serializer.validated_data.get("role"):
            require_role(organization.role, Role(role))
            member.change_role(role)
        return SuccessResponse(MemberSerializer(member).data, "Member updated successfully")

    @write(**openapi.REMOVE_MEMBER)
    def destroy(self, request: Request, organization_id: str, user_id: str) -> Response:
        """Remove a member (admin, owner; only owners may remove owners, and never the last one)."""
        member = self.get_member(self.get_locked_organization(Role.ADMIN))
        read_no_body(request)
        member.remove()
        return Response(status=HTTPStatus.NO_CONTENT)


class WorkspaceViewSet(BelowOrganizationViewSet):
    """The workspaces of an organization."""

    queryset = Workspace.objects.none()
    filterset_class = WorkspaceFilter
    http_method_names = ["get", "head", "post", "patch", "delete"]
    lookup_url_kwarg = "workspace_id"
    serializer_class = WorkspaceSerializer

    def get_queryset(self) -> QuerySet[Workspace]:
        return self.get_organization().workspaces.all()

    def get_workspace(self) -> Workspace:
        """Return the workspace in the path, for an admin. Raises 403 or 404."""
        workspaces = self.get_organization(Role.ADMIN).workspaces.all()
        workspace: Workspace = self.find(workspaces, self.kwargs["workspace_id"])
        return workspace

    def read_values(self, request: Request, *, partial: bool) -> dict[str, Any]:
        """Return the valid fields of the body. Raises ValidationError (400)."""
        serializer = WorkspaceWriteSerializer(data=read_body(request), partial=partial)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    @describe(**openapi.LIST_WORKSPACES)
    def list(self, request: Request, organization_id: str) -> Response:
        """List the workspaces of an organization, the default one first."""
        return self.list_page(request, "Workspaces retrieved successfully")

    @describe(**openapi.RETRIEVE_WORKSPACE)
    def retrieve(self, request: Request, organization_id: str, workspace_id: str) -> Response:
        """Return one workspace of an organization."""
        workspace = self.get_object()
        check_parameters(request)
        data = WorkspaceSerializer(workspace).data
        return SuccessResponse(data, "Workspace retrieved successfully")

    @write(**openapi.ADD_WORKSPACE)
    def create(self, request: Request, organization_id: str) -> Response:
        """Add a workspace to an organization (admin, owner)."""
        organization = self.get_organization(Role.ADMIN)
        workspace = Workspace(organization=organization, **self.read_values(request, partial=False))
        workspace.save_unique()
        data = WorkspaceSerializer(workspace).data
        headers = {"Location": f"/api/v1/organizations/{organization.pk}/workspaces/{workspace.pk}"}
        return SuccessResponse(data, "Workspace created successfully", HTTPStatus.CREATED, headers)

    @write(**openapi.RENAME_WORKSPACE)
    def partial_update(self, request: Request, organization_id: str, workspace_id: str) -> Response:
        """Change the name of a workspace (admin, owner)."""
        workspace = self.get_workspace()
        if name := self.read_values(request, partial=True).get("name"):
            workspace.name = name
            workspace.save_unique()
        data = WorkspaceSerializer(workspace).data
        return SuccessResponse(data, "Workspace updated successfully")

    @write(**openapi.REMOVE_WORKSPACE)
    def destroy(self, request: Request, organization_id: str, workspace_id: str) -> Response:
        """Remove an empty workspace (admin, owner); an organization keeps at least one."""
        workspace = self.get_workspace()
        read_no_body(request)
        workspace.remove()
        return Response(status=HTTPStatus.NO_CONTENT)
