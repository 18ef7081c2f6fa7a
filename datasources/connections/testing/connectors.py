"""Connectors to servers on this machine, and how they fail."""

import threading
from dataclasses import replace

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import Connector
from datasources.connections.endpoint import Endpoint
from datasources.connections.failures import ConnectionFailure
from datasources.connections.stages import Stages
from rivergen.egress.policy import EgressPolicy
from rivergen.egress.rules import parse_rules

PASSWORD = "hunter22-correct-horse"
LOOPBACK_POLICY = EgressPolicy(allow=parse_rules("127.0.0.0/8"))
# Seconds that are longer than any time limit that the tests set.
HANG_SECONDS = 15


def configuration_to(type_name: str, port: int, **changes: object) -> Configuration:
    """Return the configuration of a source at `port` of this machine.

    Every secret is `PASSWORD`. Connecting and each query may take a short time only.
    """
    fields: dict = {
        "host": "127.0.0.1",
        "port": port,
        "database_name": "sales",
        "username": "reader",
        "secrets": {"password": PASSWORD, "token": PASSWORD},
        "connection_timeout": 1,
        "query_timeout": 7,
        **changes,
    }
    return Configuration(type_name, **fields)


def connector_to(type_name: str, port: int, **changes: object) -> Connector:
    """Return the connector of a source at `port` of this machine; see `configuration_to`."""
    # Host and port come from the endpoint; the default port of a type must not matter.
    fields: dict = {"host": None, "port": None, **changes}
    configuration = replace(configuration_to(type_name, port), **fields)
    endpoint = Endpoint("localhost", "127.0.0.1", port, timeout_seconds=1)
    return CONNECTORS[type_name](configuration, endpoint, Stages())


def failure_of(connector: Connector) -> ConnectionFailure:
    """Return the failure that `connect` raises. Raises AssertionError if it connects or hangs."""
    failures: list[BaseException] = []

    def connect() -> None:
        try:
            connector.connect()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HANG_SECONDS)
    if not failures:
        raise AssertionError("hangs" if thread.is_alive() else "connects")
    if not isinstance(failures[0], ConnectionFailure):
        raise failures[0]
    return failures[0]
