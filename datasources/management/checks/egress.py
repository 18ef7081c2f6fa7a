"""Checks of the egress policy."""

from ipaddress import ip_network

from datasources.management.checks import Finding, State
from rivergen.egress.exceptions import HostNotFound
from rivergen.egress.policy import DENIED_BY_DEFAULT, EgressPolicy, egress_policy
from rivergen.egress.rules import Network

ANY_PORT = 80
PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8"))
)


def check_egress() -> Finding:
    """Check that data sources reach no address denied by default, and no private network."""
    try:
        policy = egress_policy()
    except HostNotFound:
        fix = "The host of DATABASE_URL cannot be resolved, so all connections are refused."
        return Finding("egress", State.FAILED, fix)
    reachable = [network for network in DENIED_BY_DEFAULT if is_open(policy, network)]
    names = ", ".join(map(str, reachable))
    if any(network.num_addresses == 1 and not network.is_loopback for network in reachable):
        fix = f"Data sources can reach {names}. Add what they must not reach to EGRESS_DENY."
        return Finding("egress", State.FAILED, fix)
    private = ", ".join(str(network) for network in PRIVATE if is_open(policy, network))
    if private and policy.default == "private":
        fix = (
            f"Data sources can reach the private networks {private}. Set EGRESS_DEFAULT=public and "
            "name your databases in EGRESS_ALLOW, or add the networks to EGRESS_DENY."
        )
        return Finding("egress", State.WARNING, fix)
    rest = f" except {names}" if reachable else ""
    return Finding("egress", State.OK, f"All addresses denied by default are denied{rest}.")


def is_open(policy: EgressPolicy, network: Network) -> bool:
    """Return whether the policy allows the first address of a network."""
    return policy.allows(str(network.network_address), ANY_PORT)
