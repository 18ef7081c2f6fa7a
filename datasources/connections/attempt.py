"""Reach one source in this process: open the route, log in, run a query."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import Connector
from datasources.connections.failures import (
    Code,
    ConnectionFailure,
    Details,
    SSHHostKeyRefused,
)
from datasources.connections.outcome import Outcome
from datasources.connections.protection import WarningCode
from datasources.connections.route import open_route
from datasources.connections.stages import Stages
from rivergen.egress.policy import EgressPolicy


@contextmanager
def connector_for(
    configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Iterator[Connector]:
    """Yield the connector of a source; the route to the source stays open until the block ends.

    Raises ConnectionFailure.
    """
    connector = CONNECTORS[configuration.type]
    connector.check(configuration)
    with open_route(connector, configuration, policy, stages) as endpoint:
        yield connector(configuration, endpoint, stages)


def attempt(configuration: Configuration, policy: EgressPolicy, stages: Stages) -> Outcome:
    """Reach a source, log in and run a trivial query. Return the outcome."""
    code = Code.OK
    details: Details = {}
    server_version: str | None = None
    ssh_host_key: str | None = None
    warnings: list[WarningCode] = []
    try:
        with connector_for(configuration, policy, stages) as connector:
            # If the login fails, only a password that was sent matters, and cannot be taken back.
            warnings = [
                warning
                for warning in connector.warnings_of(configuration)
                if warning == WarningCode.PASSWORD_IN_CLEAR
            ]
            connection: Any = connector.connect()
            warnings = connector.warnings_found()
            try:
                server_version = connector.query_version(connection)
            finally:
                connector.close(connection)
    except SSHHostKeyRefused as failure:
        code, ssh_host_key = failure.code, failure.presented
    except ConnectionFailure as failure:
        code, details = failure.code, failure.details
    return {
        "code": code.value,
        "details": details,
        "stages": stages.to_list(),
        "server_version": server_version,
        "ssh_host_key": ssh_host_key,
        "warnings": [warning.value for warning in warnings],
    }
