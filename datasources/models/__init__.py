"""The models of data sources. The packages beside this one have further models (see `apps`)."""

from datasources.models.columns import NAME_TAKEN as NAME_TAKEN
from datasources.models.data_source import WORKSPACE_GONE as WORKSPACE_GONE
from datasources.models.data_source import DataSource as DataSource
from datasources.models.field_names import DESTINATION_FIELDS as DESTINATION_FIELDS
from datasources.models.field_names import SSH_SERVER_FIELDS as SSH_SERVER_FIELDS
from datasources.models.field_names import UPDATABLE_FIELDS as UPDATABLE_FIELDS
from datasources.models.revision import Author as Author
from datasources.models.revision import DataSourceRevision as DataSourceRevision
