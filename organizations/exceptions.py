"""Conflicts with the state of an organization; each becomes 409."""

from rivergen.errors import StateConflict


class LastOwner(StateConflict):
    """The last owner who can sign in can be neither removed nor demoted."""

    message = "An organization needs at least one owner who can sign in."


class LastWorkspace(StateConflict):
    """The last workspace of an organization cannot be removed."""

    message = "An organization needs at least one workspace."


class WorkspaceInUse(StateConflict):
    """A workspace with data sources cannot be removed."""

    message = "The workspace still has data sources. Delete them first."
