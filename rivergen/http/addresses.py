"""The addresses of clients, and the networks by which they are counted."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from rest_framework.throttling import BaseThrottle

# A provider gives a customer at least a /64, and often a /48 (RFC 6177), so the addresses within
# one belong to the same client.
CLIENT_PREFIX = 64
SITE_PREFIX = 48
ADDRESS_MAX_LENGTH = 64
# Some proxies add the port of the client: 192.0.2.1:50123 or [2001:db8::1]:50123.
WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


def client_address(request: Any) -> str:
    """Return the address of the client of an API request or page, as NUM_PROXIES determines it.

    May be any text, if the client is not behind these proxies and has sent X-Forwarded-For.
    """
    address: str = BaseThrottle().get_ident(request)
    return address


def client_network(request: Any) -> str:
    """Return the network that belongs to the client of a request; see `network_of`."""
    return network_of(client_address(request))


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address without port and zone; that of an IPv4 client on an IPv6 socket as IPv4.

    Returns None if the text is no address.
    """
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def network_of(address: str) -> str:
    """Return the network that belongs to one client: an IPv4 address, or the /64 of an IPv6 one.

    Text that is no address is returned as it is, shortened.
    """
    parsed = read_address(address)
    if parsed is None:
        return address[:ADDRESS_MAX_LENGTH]
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, CLIENT_PREFIX), strict=False))
    return str(parsed)


def site_network(client: str) -> str | None:
    """Return the /48 of a client's network, or None if it is not IPv6."""
    if not client.endswith(f"/{CLIENT_PREFIX}"):
        return None
    return str(ip_network(client).supernet(new_prefix=SITE_PREFIX))
