"""Export of an organization's data sources as a file of declarations.

Applying the exported file changes nothing.
"""

from collections.abc import Iterator

from datasources.connections.connectors.base import one_line
from datasources.declarations.text import write_yaml
from datasources.models import UPDATABLE_FIELDS, DataSource
from organizations.models import Organization

HEAD = """\
# The data sources of {name}.
# Fields without a line stay unchanged. Secrets are never exported; to set one:
#   credentials:
#     password: ${{env:NAME}}    (or ${{file:path}})
"""
ROWS_AT_ONCE = 500


def export(organization: Organization) -> Iterator[str]:
    """Yield the file in parts, one for each data source."""
    yield HEAD.format(name=one_line(organization.name))
    yield write_yaml({"organization": organization.slug})
    data_sources = organization.data_sources.select_related("workspace").order_by(
        "workspace_id", "name", "id"
    )
    if not data_sources.exists():
        yield "data_sources: []\n"
        return
    yield "data_sources:\n"
    for data_source in data_sources.prefetch_related("credentials").iterator(ROWS_AT_ONCE):
        yield write_yaml([declare(data_source)])
        for credential in data_source.credentials.all():
            yield f"  # {credential.field} is set.\n"


def declare(data_source: DataSource) -> dict[str, object]:
    """Return the declaration of a data source, as a value to write in YAML."""
    fields = {name: getattr(data_source, name) for name in UPDATABLE_FIELDS}
    declared = {
        "name": fields.pop("name"),
        "workspace": data_source.workspace.name,
        "type": data_source.type,
        **fields,
    }
    if data_source.username is not None:
        declared["credentials"] = {"username": data_source.username}
    return declared
