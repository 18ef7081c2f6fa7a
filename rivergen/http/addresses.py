"""The addresses by which clients are counted."""

import re
from ipaddress import IPv6Address, ip_address, ip_network

# A provider gives a customer at least a /64, and often a /48 (RFC 6177), so the addresses within
# one belong to the same client.
CLIENT_PREFIX = 64
SITE_PREFIX = 48
ADDRESS_MAX_LENGTH = 64
# Some proxies add the port of the client: 192.0.2.1:50123 or [2001:db8::1]:50123.
WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


def client_network(address: str) -> str:
    """Return the network that belongs to one client: an IPv4 address, or the /64 of an IPv6 one.

    Text that is no address is returned as it is, shortened.
    """
    if match := WITH_PORT.fullmatch(address):
        address = match[1] or match[2]
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:ADDRESS_MAX_LENGTH]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, CLIENT_PREFIX), strict=False))


def site_network(client: str) -> str | None:
    """Return the /48 of a client's network, or None if it is not IPv6."""
    if not client.endswith(f"/{CLIENT_PREFIX}"):
        return None
    return str(ip_network(client).supernet(new_prefix=SITE_PREFIX))
