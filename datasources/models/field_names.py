"""Groups of fields: which ones may be updated, and what a change of them affects."""

from datasources.connections.connectors.base import SECRET_FIELDS

UPDATABLE_FIELDS = (
    "name",
    "description",
    "host",
    "port",
    "database_name",
    "schema_name",
    "connection_string",
    "file_path",
    "use_ssh_tunnel",
    "ssh_host",
    "ssh_port",
    "ssh_username",
    "ssh_local_port",
    "connection_pool_size",
    "connection_timeout",
    "query_timeout",
    "max_retries",
    "schema_auto_refresh",
    "schema_refresh_interval",
    "metadata",
    "tags",
)
"""The fields that an update may change, in the order of the API document."""

DESTINATION_FIELDS = (
    "type",
    "host",
    "port",
    "use_ssh_tunnel",
    "ssh_host",
    "ssh_port",
    "ssh_username",
    "ssh_local_port",
    "ssh_host_key",
)
"""The fields that, with the connection string, make up the destination (contract, section 4a)."""

DESTINATION_GROUP = frozenset(DESTINATION_FIELDS) | {"connection_string"}
"""The fields of which one change clashes with a change of any other: together they say where to
connect (contract, section 4b)."""

OBSERVED_FIELDS = frozenset(
    (
        "status",
        "last_test",
        "schema_status",
        "schema_refreshed_at",
        "schema_next_refresh_at",
        "updated_at",
        "updated_by_user_id",
    )
)
"""The read-only fields that change without a new version (contract, section 4)."""

HOST_FIELDS = ("host", "ssh_host")
"""The fields with a host: of a name there are many spellings (`rivergen.hosts`)."""

SSH_SERVER_FIELDS = ("ssh_host", "ssh_port")
"""The fields that identify the SSH server. Another server has another host key."""

SCHEMA_FIELDS = frozenset(DESTINATION_FIELDS) | {
    *("connection_string", "database_name", "schema_name", "file_path", "username"),
    *SECRET_FIELDS,
}
"""The fields after whose change the schema is read again: it may be a different one."""

CONNECTION_FIELDS = SCHEMA_FIELDS | {"connection_timeout", "query_timeout", "max_retries"}
"""The fields that decide how a connection test ends. After a change of others its result holds."""

SEARCHED_FIELDS = ("name", "description", "host", "database_name")
"""The fields that `?search=` searches."""
