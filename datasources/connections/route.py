"""The route to a source: a direct connection to a checked address, or an SSH tunnel."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datasources.connections.configuration import SSH_PORT, Configuration
from datasources.connections.connectors.base import ConnectorClass
from datasources.connections.endpoint import LOOPBACK, Endpoint
from datasources.connections.failures import (
    Code,
    ConnectionFailure,
    egress_errors_as_failures,
)
from datasources.connections.ssh.tunnel import reserve_port, tunnel
from datasources.connections.stages import Stages
from rivergen.egress.policy import EgressPolicy, look_up, parse_address
from rivergen.egress.python_sockets import DNS_PORT, guarded

FIRST_PAUSE_SECONDS = 0.1


@contextmanager
def open_route(
    connector: ConnectorClass, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Iterator[Endpoint | None]:
    """Yield the endpoint of a source, or None for a type that has none. Raises ConnectionFailure.

    Until the block ends, Python code in this process can connect only to the endpoint and to what
    the policy allows (`guarded`).
    """
    host, port = configuration.host, configuration.port
    if not connector.has_endpoint:
        with guarded(policy):
            yield None
        return
    assert host is not None and port is not None  # see `Connector.check`
    if connector.is_resolved_by_driver(configuration):
        with stages("policy"), egress_errors_as_failures():
            policy.check_name(host)
        with guarded(policy):  # the guard checks the servers that the driver finds
            yield Endpoint(host, host, port, configuration.connection_timeout)
    elif configuration.use_ssh_tunnel:
        with open_tunnel_route(host, configuration, policy, stages) as endpoint:
            yield endpoint
    else:
        with open_direct_route(host, port, configuration, policy, stages) as endpoint:
            yield endpoint


def reserve_ports(connector: ConnectorClass, configuration: Configuration) -> set[int] | None:
    """Return the TCP ports that the route to a source needs; None if servers may name others.

    For a process that may not listen when it opens the route: if the route is a tunnel, this opens
    its local end.
    """
    further = connector.further_ports(configuration)
    ports = {*(further or ())}
    host = None
    if not connector.has_endpoint:
        pass
    elif configuration.use_ssh_tunnel:
        host = configuration.ssh_host
        ports |= {configuration.ssh_port or SSH_PORT, reserve_port()}
    elif configuration.port:
        host = configuration.host
        ports.add(configuration.port)
    # A resolver repeats a long answer over TCP.
    if ports and (further or parse_address(host or "") is None):
        ports.add(DNS_PORT)
    return None if further is None else ports


@contextmanager
def open_tunnel_route(
    host: str, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Iterator[Endpoint]:
    """Yield the local end of an SSH tunnel to a source. Raises ConnectionFailure."""
    bastion = open_endpoint(
        configuration.ssh_host or "",
        configuration.ssh_port or SSH_PORT,
        configuration,
        policy,
        stages,
    )
    with tunnel(configuration, bastion, stages) as local_port:
        # The SSH server resolves `host`; the driver connects to the local end of the tunnel.
        allowed = {(LOOPBACK, local_port)}
        with guarded(policy, pins={host: LOOPBACK}, allowed=allowed):
            yield Endpoint(host, LOOPBACK, local_port, configuration.connection_timeout)


@contextmanager
def open_direct_route(
    host: str, port: int, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Iterator[Endpoint]:
    """Yield the checked address of a source. Raises ConnectionFailure."""
    members = [(host, port), *((name, number) for name, number in configuration.other_hosts)]
    found = check_hosts(members, policy, stages)
    endpoint = reach(found, configuration, stages)
    try:
        pins = {name: likely_address(addresses, endpoint) for name, _, addresses in found}
        pins[endpoint.host] = endpoint.address
        # Allowed explicitly: the policy may allow the address under this name only.
        allowed = {(pins[name], number) for name, number, _ in found}
        with guarded(policy, pins=pins, allowed=allowed):
            yield endpoint
    finally:
        endpoint.close_unused()


def open_endpoint(
    host: str, port: int, configuration: Configuration, policy: EgressPolicy, stages: Stages
) -> Endpoint:
    """Resolve a host once, check all its addresses, and connect to the first that answers.

    Raises ConnectionFailure.
    """
    return reach(check_hosts([(host, port)], policy, stages), configuration, stages)


def check_hosts(
    hosts: Sequence[tuple[str, int]], policy: EgressPolicy, stages: Stages
) -> list[tuple[str, int, list[str]]]:
    """Return each host with its port and addresses, all of which the policy allows.

    Raises ConnectionFailure if it denies one, or if a name has no address.
    """
    found = []
    for host, port in hosts:
        with stages("policy"), egress_errors_as_failures():
            policy.check_name(host)
        with stages("dns"), egress_errors_as_failures():
            addresses = look_up(host)
        with stages("policy"), egress_errors_as_failures():
            policy.check_addresses(host, addresses, port)
        found.append((host, port, addresses))
    return found


def reach(
    hosts: Sequence[tuple[str, int, Sequence[str]]], configuration: Configuration, stages: Stages
) -> Endpoint:
    """Connect to the first of all addresses that answers; `hosts` are those of `check_hosts`.

    Retries a refused connection `max_retries` times, within `connection_timeout` seconds.
    Raises ConnectionFailure.
    """
    targets = [(host, port, address) for host, port, addresses in hosts for address in addresses]
    deadline = time.monotonic() + configuration.connection_timeout
    with stages("tcp"):
        for pause in pauses(configuration.max_retries):
            code = Code.TCP_TIMEOUT
            for number, (host, port, address) in enumerate(targets):
                # Split the time, so that a silent address leaves some to the next.
                seconds = (deadline - time.monotonic()) / (len(targets) - number)
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


def likely_address(addresses: Sequence[str], endpoint: Endpoint) -> str:
    """Return the address to use of a host: one of the family that answered, if there is any."""
    is_v6 = ":" in endpoint.address
    return next((address for address in addresses if (":" in address) == is_v6), addresses[0])


def pauses(max_retries: int) -> Iterator[float | None]:
    """Yield the seconds to wait after each attempt, doubling; None after the last attempt."""
    for retry in range(max_retries):
        yield FIRST_PAUSE_SECONDS * 2**retry
    yield None
