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


def fieldsets(data_source: DataSource | None = None, credentials: tuple[str, ...] = ()) -> Any:
    """Return the groups of fields; a new data source has no credentials and no state yet."""
    has_tunnel = data_source is not None and data_source.use_ssh_tunnel
    sets: list[tuple[str | None, dict[str, Any]]] = [
        (None, {"fields": ("name", "type", "workspace", "description", "shown_version")}),
        (
            "Connection",
            {
                "fields": (
                    ("host", "port"),
                    ("database_name", "schema_name"),
                    "connection_string",
                    "file_path",
                )
            },
        ),
        ("Credentials", {"fields": credentials}),
        (
            "SSH tunnel",
            {
                # One field per line: Django expands a collapsed group on an error only then.
                "fields": (
                    "use_ssh_tunnel",
                    "ssh_host",
                    "ssh_port",
                    "ssh_username",
                    "ssh_local_port",
                ),
                "classes": () if has_tunnel else ("collapse",),
            },
        ),
        (
            "Limits",
            {
                "fields": (
                    ("connection_timeout", "query_timeout"),
                    ("connection_pool_size", "max_retries"),
                )
            },
        ),
        ("Schema", {"fields": ("schema_auto_refresh", "schema_refresh_interval")}),
        ("Tags and metadata", {"fields": ("tags", "metadata")}),
    ]
    if data_source is not None:
        sets.append(("State", {"fields": OBSERVED_FIELDS}))
    return [(title, options) for title, options in sets if options["fields"]]
