"""Conflicts with the state of an organization; each becomes 409."""

from rivergen.errors import StateConflict

QUOTAS = {
    "data_sources": ("data sources", "Delete some"),
    "history_bytes": ("bytes of history", "Delete data sources"),
    "kept_answer_bytes": (
        "bytes of kept answers to requests with an Idempotency-Key",
        "Wait, as they are deleted after 24 hours",
    ),
    "schema_bytes": ("bytes of schemas", "Delete data sources, or name one schema in schema_name"),
    "workspaces": ("workspaces", "Remove some"),
    "members": ("members", "Remove some"),
}
"""What an organization may have a limited number of, and how to get room."""


class LastOwner(StateConflict):
    """The last owner who can sign in can be neither removed nor demoted."""

    message = "An organization needs at least one owner who can sign in. Name another owner first."

    def __init__(self, *organizations: str) -> None:
        self.sentences = [
            f"{name} would have no owner who can sign in. Name another owner first."
            for name in organizations
        ]
        super().__init__(" ".join(self.sentences))


class LastWorkspace(StateConflict):
    """The last workspace of an organization cannot be removed."""

    message = "An organization needs at least one workspace."


class WorkspaceInUse(StateConflict):
    """A workspace with data sources cannot be removed."""

    message = "The workspace still has data sources. Delete them first."


class QuotaExceeded(StateConflict):
    """The organization has as many of something as it may have (409)."""

    code = "QUOTA_EXCEEDED"

    def __init__(self, name: str, limit: int) -> None:
        noun, next_step = QUOTAS[name]
        sentence = f"The organization may have at most {limit:,} {noun}."
        super().__init__(f"{sentence} {next_step}, or ask an operator for a higher quota.")
        self.details = {name: [sentence]}
