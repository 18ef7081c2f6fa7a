"""A live connection to a source, in this process: for operators and jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasources.connections.attempt import connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.failures import egress_errors_as_failures
from datasources.connections.stages import Stages
from rivergen.egress.policy import egress_policy


@contextmanager
def connect(configuration: Configuration) -> Iterator[Any]:
    """Yield a live connection until the block ends; see `DataSource.connect`.

    Its `engine` has a pool: it gives up to `connection_pool_size` connections at a time. Within
    the block, Python code in this process can reach nothing else (`egress.python_sockets`).
    """
    with egress_errors_as_failures():
        policy = egress_policy()
    with (
        connector_for(configuration, policy, Stages()) as connector,
        connector.session() as connection,
    ):
        yield connection
