"""Words of openapi.json that endpoints of all packages share."""

from typing import Any

CHANGES = {
    "$ref": "#/components/schemas/Changes",
    "description": "What differs now, by field. Empty: nothing does.",
}
ENUMERATIONS = {
    "ConnectionTestCode": "The result of a connection test or of a schema refresh. The list may "
    "grow: treat a code that you do not know by `ok`.",
    "ConnectionTestWarningCode": "What a connection did not protect. The list may grow.",
    "CredentialsStatus": "Whether secrets are stored (`set`, `unset`), or wait until they are "
    "confirmed for a new destination (`unconfirmed`).",
    "DataSourceStatus": "`active`, or `error` if the last connection test failed.",
    "DataSourceType": "The kind of database, warehouse or file.",
    "Role": "What a member may do. Each role includes the ones before it: `viewer` reads, `editor` "
    "also changes data sources, `admin` also manages members and workspaces, `owner` may do "
    "everything.",
    "SchemaStatus": "Whether the schema was never read (`unread`), is being read (`refreshing`), "
    "was read (`ready`), or could not be read (`failed`).",
}
SUCCESS_HEADERS = {
    "ETag": "Identifies what is returned. Of a data source: its version, for `If-Match`.",
    "Location": "The path of what was created, or of the result to wait for.",
}
# The variables of paths, with values that work in the demo of `make run`. The ids of connection
# tests are random: the person who tries it has to copy one.
PATH_VARIABLES: dict[str, dict[str, Any]] = {
    "data_source_id": {"description": "The `id` of the data source.", "example": 1},
    "organization_id": {"description": "The `id` of the organization.", "example": 1},
    "test_id": {"description": "The `test_id` that the start of the connection test returned."},
    "user_id": {"description": "The `user_id` of the member.", "example": 4},
    "version": {
        "description": "The version to restore, as the history lists it.",
        "example": 1,
    },
    "workspace_id": {"description": "The `id` of the workspace.", "example": 1},
}
