"""Parse the rules of EGRESS_ALLOW and EGRESS_DENY: networks, addresses and host names."""

from ipaddress import IPv4Network, IPv6Network, ip_network

from rivergen.hosts import HOST_NAME, canonical_host

Network = IPv4Network | IPv6Network
Rule = Network | str
"""A network, with one address or more, or a host name; `*.example.com` covers all names below."""

WILDCARD = "*."
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_rules(text: str) -> list[Rule]:
    """Return the rules of a comma-separated list. Raises ValueError, quoting the first bad rule."""
    return [parse_rule(item.strip()) for item in text.split(",") if item.strip()]


def parse_rule(item: str) -> Rule:
    """Return one rule. Raises ValueError, which quotes the text."""
    try:
        return parse_network(item) if is_network(item) else parse_name(item)
    except ValueError:
        raise ValueError(f"{item!r} is not a network, IP address or host name") from None


def is_network(item: str) -> bool:
    """Return whether the text looks like a network or an address."""
    return "/" in item or ":" in item or item.replace(".", "").isdecimal()


def parse_network(item: str) -> Network:
    """Return a network. Raises ValueError.

    An IPv4 network must be written as IPv4: one in its IPv6 form would match no address.
    """
    network = ip_network(item)
    if "%" in item or (isinstance(network, IPv6Network) and network.subnet_of(IPV4_MAPPED)):
        raise ValueError
    return network


def parse_name(item: str) -> str:
    """Return a host name, or a wildcard for all names below it. Raises ValueError."""
    wildcard = WILDCARD if item.startswith(WILDCARD) else ""
    name = canonical_host(item.removeprefix(wildcard))
    if not HOST_NAME.fullmatch(name):
        raise ValueError
    return wildcard + name
