"""Rules that an organization keeps whatever is asked of it; each becomes 409."""

from rivergen.errors import StateConflict


class LastOwner(StateConflict):
    """The membership is that of the last owner."""

    message = "An organization needs at least one owner."


class LastWorkspace(StateConflict):
    """The workspace is the last one of its organization."""

    message = "An organization needs at least one workspace."


class WorkspaceInUse(StateConflict):
    """The workspace has data sources."""

    message = "The workspace still has data sources."
