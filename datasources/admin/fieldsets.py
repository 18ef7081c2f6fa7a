"""The fields on the page of a data source, in groups."""

from typing import Any

from datasources.models import DataSource

# Read-only, at the end of the page.
OBSERVED_FIELDS = (
    "organization",
    "status",
    "credentials_status",
    "schema_status",
    "schema_refreshed_at",
    "schema_next_refresh_at",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
)


GENERAL: Any = (None, {"fields": ("name", "type", "workspace", "description", "shown_version")})
CONNECTION = (
    "Connection",
    {
        "fields": (
            ("host", "port"),
            ("database_name", "schema_name"),
            "connection_string",
            "file_path",
        )
    },
)
# One field per line: otherwise Django does not expand a collapsed group with an error.
SSH_TUNNEL_FIELDS = ("use_ssh_tunnel", "ssh_host", "ssh_port", "ssh_username", "ssh_local_port")
LIMITS = (
    "Limits",
    {
        "fields": (
            ("connection_timeout", "query_timeout"),
            ("connection_pool_size", "max_retries"),
        )
    },
)
SCHEMA = ("Schema", {"fields": ("schema_auto_refresh", "schema_refresh_interval")})
TAGS_AND_METADATA = ("Tags and metadata", {"fields": ("tags", "metadata")})
STATE = ("State", {"fields": OBSERVED_FIELDS})


def fieldsets(data_source: DataSource | None = None, credentials: tuple[str, ...] = ()) -> Any:
    """Return the groups of fields; a new data source has no credentials and no state yet."""
    has_tunnel = data_source is not None and data_source.use_ssh_tunnel
    classes = () if has_tunnel else ("collapse",)
    groups = [GENERAL, CONNECTION]
    if credentials:
        groups.append(("Credentials", {"fields": credentials}))
    groups += [
        ("SSH tunnel", {"fields": SSH_TUNNEL_FIELDS, "classes": classes}),
        LIMITS,
        SCHEMA,
        TAGS_AND_METADATA,
    ]
    if data_source is not None:
        groups.append(STATE)
    return groups
