"""What EGRESS_ALLOW and EGRESS_DENY may name: networks, addresses and hosts."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network
Rule = Network | str
"""An address is the network of its own; a str is a host name, or `*.` and the end of some."""

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# What ends in a number is an address to a resolver: 127.1 and 0x7f000001 are 127.0.0.1.
HOST_NAME = re.compile(rf"(?:{LABEL}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)$){LABEL}")
WILDCARD = "*."
IPV4_MAPPED = IPv6Network("::ffff:0:0/96")


def ascii_name(host: str) -> str:
    """Give a host name as names are compared: in ASCII, in lower case, without its last dot.

    Raises ValueError if it is none.
    """
    return host.encode("idna").decode().lower().removesuffix(".")


def parse_rules(text: str) -> list[Rule]:
    """Read rules separated by commas. Raises ValueError, which names the first bad one."""
    return [parse_rule(item.strip()) for item in text.split(",") if item.strip()]


def parse_rule(item: str) -> Rule:
    """Read one rule. Raises ValueError, which names it."""
    try:
        return parse_network(item) if is_network(item) else parse_name(item)
    except ValueError:
        raise ValueError(f"{item!r} is no network, IP address or host name") from None


def is_network(item: str) -> bool:
    """Whether this is meant to be a network or an address."""
    return "/" in item or ":" in item or item.replace(".", "").isdecimal()


def parse_network(item: str) -> Network:
    """Read a network; IPv4 has to be written as IPv4, or it would not be what it is compared to."""
    network = ip_network(item)
    if "%" in item or (isinstance(network, IPv6Network) and network.subnet_of(IPV4_MAPPED)):
        raise ValueError
    return network


def parse_name(item: str) -> str:
    """Read a host name, or a wildcard for all names below one."""
    wildcard = WILDCARD if item.startswith(WILDCARD) else ""
    name = ascii_name(item.removeprefix(wildcard))
    if not HOST_NAME.fullmatch(name):
        raise ValueError
    return wildcard + name
