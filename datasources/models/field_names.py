"""The fields of a data source by what they mean: which may change, and what follows from that."""

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
"""What an update may change, in the order of the API document."""

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
"""What decides where secrets would travel, beside the connection string (contract, section 4a)."""

SSH_SERVER_FIELDS = ("ssh_host", "ssh_port")
"""What identifies the SSH server: another server has another host key."""

SCHEMA_FIELDS = frozenset(DESTINATION_FIELDS) | {
    *("connection_string", "database_name", "schema_name", "file_path", "username"),
    *SECRET_FIELDS,
}
"""A change of any of these may make another schema readable, so the schema is read again."""

SEARCHED_FIELDS = ("name", "description", "host", "database_name")
"""What `?search=` looks through."""
