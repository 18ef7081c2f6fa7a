"""Declaring what there is: a file that, applied, changes nothing."""

from collections.abc import Iterator

from datasources.connections.connectors.base import one_line
from datasources.declarations.text import write_yaml
from datasources.models import UPDATABLE_FIELDS, DataSource
from organizations.models import Organization

HEAD = """\
# The data sources of {name}.
# What a data source has no line for stays as it is. Secrets are not here; to enter one:
#   credentials:
#     password: ${{env:NAME}}    (or ${{file:path}})
"""
ROWS_AT_ONCE = 500


def export(organization: Organization) -> Iterator[str]:
    """Give the file, a part for each data source."""
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
    """Give a data source as a file declares it."""
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
