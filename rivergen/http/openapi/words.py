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
FAILURES = {
    400: "Malformed HTTP or JSON, or an unknown, read-only or invalid field.",
    401: "No token, or one that is expired, revoked, forged, of another kind or no token at all; "
    "the message says which.",
    403: "The caller is a member of no organization, or the caller's role does not allow this.",
    404: "There is no such resource in the caller's organizations.",
    405: "This path does not support this method.",
    406: "The response is available as JSON only.",
    408: "The request took too long to arrive.",
    409: "The state of the resource does not allow this, the organization has as many of "
    "something as it may (`QUOTA_EXCEEDED`), or a request with this `Idempotency-Key` is still in "
    "flight.",
    412: "`If-Match`, or `version` in the body, names another version than the current one. "
    "`error.conflict` says what changed since; nothing was stored.",
    413: "The body is larger than 1 MiB.",
    415: "The type of the body is not a JSON type.",
    422: "The new settings do not connect, or another request has used this `Idempotency-Key`; "
    "nothing was stored.",
    428: "The organization or the request requires `If-Match`, and no version was named; nothing "
    "was stored.",
    429: "Too many requests.",
    500: "A bug on the server's side.",
    503: "The database is unavailable.",
}
KEY_PARAMETER = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "format": "idempotency-key"},
    "description": "1 to 255 printable ASCII characters, bare or in double quotes. A retry of the "
    "same request with the same key within 24 hours changes nothing and returns the same response, "
    "so it is safe to retry a request whose response was lost. Use a new key for each request.",
}
REPLAYED_HEADER = {
    "description": "`true`: this is the stored response to the first request with this key.",
    "schema": {"type": "string", "const": "true"},
}
LIMIT_HEADERS = {
    "RateLimit-Policy": {
        "description": "The limits that counted this request (draft-ietf-httpapi-ratelimit-headers)"
        ": `q` requests in `w` seconds each.",
        "schema": {"type": "string"},
        "example": '"user";q=6000;w=60, "test";q=60;w=60',
    },
    "RateLimit": {
        "description": "What is left of these limits: `r` requests in the next `t` seconds.",
        "schema": {"type": "string"},
        "example": '"user";r=5999;t=43, "test";r=59;t=43',
    },
}
HEADERS: dict[int, dict[str, str]] = {
    401: {
        "WWW-Authenticate": '`Bearer error="invalid_token", error_description="…"`, with the '
        "message of the body, if the token is not accepted; `Bearer` alone if there is none."
    },
    405: {"Allow": "The methods that this path supports."},
    409: {"Retry-After": "Seconds to wait, if the code is `IDEMPOTENCY_KEY_IN_USE`."},
    412: {"ETag": "The current version, in double quotes."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
# A header that not all failures with its status have.
SOMETIMES = (409, "Retry-After")
HEADER_SCHEMAS = {"Retry-After": {"type": "integer", "format": "int32", "minimum": 0}}
