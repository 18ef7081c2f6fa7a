"""Users, organizations, workspaces and memberships."""

from organizations.models.membership import (
    ROLES_WITH,
    Membership,
    MembershipQuerySet,
    Role,
    keep_owners,
)
from organizations.models.organization import (
    DEFAULT_WORKSPACE_NAME,
    Organization,
    OrganizationQuerySet,
    Workspace,
    WorkspaceQuerySet,
)
from organizations.models.user import User

__all__ = [
    "DEFAULT_WORKSPACE_NAME",
    "ROLES_WITH",
    "Membership",
    "MembershipQuerySet",
    "Organization",
    "OrganizationQuerySet",
    "Role",
    "User",
    "Workspace",
    "WorkspaceQuerySet",
    "keep_owners",
]
