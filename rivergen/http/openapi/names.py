"""The names in openapi.json: operation ids and tags, both derived from the path."""

import re

# The last part of a path that says what a POST does.
VERBS = {
    *("accept", "apply", "confirm", "pause", "redeliver", "refresh", "restore", "resume"),
    *("rotate", "test", "undelete"),
}
VERBS_BY_METHOD = {
    "GET": "get",
    "POST": "create",
    "PUT": "replace",
    "PATCH": "update",
    "DELETE": "delete",
}
# The tag of an operation is that of the last part of its path that is named here.
TAGS_BY_PART = {
    "auth": "Sign-in",
    "me": "Sign-in",
    "data-sources": "Data sources",
    "data-source-types": "Data sources",
    "credentials": "Credentials",
    "test": "Connection tests",
    "connection-tests": "Connection tests",
    "ssh-host-key": "Connection tests",
    "schema": "Schemas",
    "history": "History",
    "apply": "Configuration as code",
    "organizations": "Organizations",
    "members": "Members",
    "workspaces": "Workspaces",
}
# In the order of use.
TAGS = [
    {
        "name": "Sign-in",
        "description": "Exchange a username and a password for tokens, keep them fresh, and see "
        "who they belong to.",
    },
    {
        "name": "Data sources",
        "description": "Create, find, update and delete connections to databases, warehouses and "
        "files.",
    },
    {
        "name": "Credentials",
        "description": "Enter, clear and confirm the secrets of a data source. No endpoint ever "
        "returns a secret.",
    },
    {
        "name": "Connection tests",
        "description": "Find out whether a data source can be reached and, if not, why.",
    },
    {
        "name": "Schemas",
        "description": "Read the tables and columns of a data source, and what changed in them.",
    },
    {
        "name": "History",
        "description": "See who changed a data source, and go back to an earlier version.",
    },
    {
        "name": "Configuration as code",
        "description": "Declare all data sources of an organization, and apply what differs.",
    },
    {
        "name": "Organizations",
        "description": "Read and change the organizations that the caller belongs to.",
    },
    {
        "name": "Members",
        "description": "Decide who may read and change the data sources of an organization.",
    },
    {
        "name": "Workspaces",
        "description": "Group the data sources of an organization.",
    },
]


def operation_id(method: str, parts: list[str], *, is_list: bool) -> str:
    """Return verb and noun for a path, such as `updateDataSource`, in camel case.

    `parts` are those of the path below `/api/v1`. The noun is what follows the last parameter: in
    `/data-sources/{id}/schema/refresh` the verb is `refresh`, the noun `Schema`. If nothing
    follows, it is what the parameter identifies, in the singular.
    """
    verb = "list" if is_list else VERBS_BY_METHOD[method]
    if method == "POST" and parts[-1] in VERBS:
        *parts, verb = parts
    nouns: list[str] = []
    for part in reversed(parts):
        if part.startswith("{"):
            break
        nouns.insert(0, part)
    if not nouns:
        nouns = [singular(parts[-2])]
    elif verb == "create":
        nouns[-1] = singular(nouns[-1])
    words = "-".join(nouns).split("-")
    return verb + "".join(word.capitalize() for word in words)


def tag(parts: list[str]) -> str:
    """Return the tag of a path: that of its last part that has one."""
    return next(TAGS_BY_PART[part] for part in reversed(parts) if part in TAGS_BY_PART)


def singular(noun: str) -> str:
    """Return the singular of a noun that is a part of a path."""
    return re.sub("s$", "", re.sub("ies$", "y", noun))


def component_name(name: str) -> str:
    """Return the name of a component for a name that drf-spectacular gives to a request body."""
    is_partial = name.startswith("Patched")
    base = name.removeprefix("Patched").removesuffix("Request")
    if base.endswith("Write"):
        return base.removesuffix("Write") + ("Update" if is_partial else "Create")
    return base


def error_name(code: str) -> str:
    """Return the name of a shared failure for an error code: `NotFound` for `NOT_FOUND`."""
    return "".join(word.capitalize() for word in code.split("_"))
