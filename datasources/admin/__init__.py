"""Data sources in the Django admin: the same rules and the same history as over HTTP."""

from datasources.admin.data_sources import DataSourceAdmin as DataSourceAdmin
from datasources.admin.jobs import JobAdmin as JobAdmin
