"""A live connection to a data source, for operators and jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasources.connection_tests.models import configuration_of
from datasources.connections.attempt import connector_for
from datasources.connections.failures import egress_errors_as_failures
from datasources.connections.stages import Stages
from datasources.models import DataSource
from rivergen.egress.policy import egress_policy


@contextmanager
def connect(data_source: DataSource) -> Iterator[Any]:
    """Give a connection until the block ends; see `DataSource.connect`.

    Its `engine` has a pool: it gives up to `connection_pool_size` connections at a time. As long as
    the block lasts, Python code in this process reaches nothing else (`guarded`).
    """
    configuration = configuration_of(data_source)
    with egress_errors_as_failures():
        policy = egress_policy()
    with (
        connector_for(configuration, policy, Stages()) as connector,
        connector.session() as connection,
    ):
        yield connection
