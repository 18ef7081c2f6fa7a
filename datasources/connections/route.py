"""The way to a source: to an address that was checked, or through an SSH tunnel."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ConnectorClass
from datasources.connections.endpoint import LOOPBACK, Endpoint
from datasources.connections.failures import (
    Code,
    ConnectionFailure,
    egress_errors_as_failures,
)
from datasources.connections.ssh.tunnel import tunnel
from datasources.connections.stages import Stages
from rivergen.egress.policy import EgressPolicy, look_up
from rivergen.egress.python_sockets import guarded

SSH_PORT = 22
FIRST_PAUSE_SECONDS = 0.1


@contextmanager
def reach(
    connector: ConnectorClass, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Iterator[Endpoint | None]:
    """Give where the source of this configuration is connected to, if its type has an endpoint.

    A driver that finds its servers by itself is held to the policy by the guard alone. Meanwhile
    Python code in this process gets nowhere else. Raises ConnectionFailure.
    """
    host, port = configuration.host, configuration.port
    if not connector.has_endpoint:
        with guarded(policy):
            yield None
    elif host is None or port is None:
        raise ConnectionFailure(Code.FIELDS_MISSING)
    elif connector.is_found_by_driver(configuration):
        with stages("policy"), egress_errors_as_failures():
            policy.check_name(host)
        with guarded(policy):
            yield Endpoint(host, host, port, configuration.connection_timeout)
    elif configuration.use_ssh_tunnel:
        bastion = open_endpoint(
            configuration.ssh_host or "",
            configuration.ssh_port or SSH_PORT,
            configuration,
            policy,
            stages,
        )
        with tunnel(configuration, bastion, stages) as local_port:
            # What lies behind the tunnel is resolved and reached by the SSH server.
            allowed = {(LOOPBACK, local_port)}
            with guarded(policy, pins={host: LOOPBACK}, allowed=allowed):
                yield Endpoint(host, LOOPBACK, local_port, configuration.connection_timeout)
    else:
        endpoint = open_endpoint(host, port, configuration, policy, stages)
        try:
            # The policy allows some addresses for the sake of their names only.
            allowed = {(endpoint.address, port)}
            with guarded(policy, pins={host: endpoint.address}, allowed=allowed):
                yield endpoint
        finally:
            endpoint.hang_up()


def open_endpoint(
    host: str, port: int, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Endpoint:
    """Resolve a host once, check all its addresses, and connect to the first that answers.

    A refusal is tried again, `max_retries` times, within `connection_timeout` seconds. Raises
    ConnectionFailure.
    """
    with stages("policy"), egress_errors_as_failures():
        policy.check_name(host)
    with stages("dns"), egress_errors_as_failures():
        addresses = look_up(host)
    with stages("policy"), egress_errors_as_failures():
        policy.check_addresses(host, addresses, port)
    deadline = time.monotonic() + configuration.connection_timeout
    with stages("tcp"):
        for pause in pauses(configuration.max_retries):
            code = Code.TCP_TIMEOUT
            for number, address in enumerate(addresses):
                # One that does not answer leaves the others their share of the time.
                seconds = (deadline - time.monotonic()) / (len(addresses) - number)
                endpoint = Endpoint(host, address, port, max(seconds, 0))
                try:
                    endpoint.opened = endpoint.dial()
                except TimeoutError:
                    pass
                except OSError:
                    code = Code.TCP_REFUSED
                else:
                    return endpoint
            if pause is None or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise ConnectionFailure(code)


def pauses(max_retries: int) -> Iterator[float | None]:
    """Give the seconds to wait after each attempt: more and more, and None after the last."""
    for retry in range(max_retries):
        yield FIRST_PAUSE_SECONDS * 2**retry
    yield None
