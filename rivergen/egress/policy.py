"""The egress policy: which hosts and addresses this service may connect to."""

import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain, product, zip_longest
from typing import Any

from django.conf import settings
from psycopg.pq import Conninfo

from rivergen.egress.exceptions import EgressDenied, HostNotFound
from rivergen.egress.rules import WILDCARD, Network, Rule
from rivergen.hosts import HOST_NAME, to_ascii

Address = IPv4Address | IPv6Address

# The original function: `python_sockets` replaces the one in `socket`.
lookup = socket.getaddrinfo

DENIED_BY_DEFAULT: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8",  # loopback
            "::1",
            "0.0.0.0/8",  # unspecified: connects to loopback
            "::",
            "169.254.0.0/16",  # link-local
            "fe80::/10",
            "fec0::/10",  # site-local, deprecated (RFC 3879)
            "224.0.0.0/4",  # multicast
            "ff00::/8",
            "240.0.0.0/4",  # reserved
            "255.255.255.255",  # broadcast
            # Cloud metadata: one rule per address, so that no wider rule allows it by accident.
            "169.254.169.254",  # AWS, Azure, Google and most others
            "169.254.170.2",  # AWS ECS
            "169.254.170.23",  # AWS EKS
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS
            "fd20:ce::254",  # Google
            "fe80::a9fe:a9fe",  # OpenStack
            "168.63.129.16",  # Azure
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd00:c1::a9fe:a9fe",  # Oracle
            "169.254.42.42",  # Scaleway
            "fd00:42::42",  # Scaleway
        ),
    )
)

# Also denied if EGRESS_DEFAULT is `public`: what the IANA registries of special-purpose addresses
# call not globally reachable. Not by `ipaddress`: its `is_global` differs between releases.
DENIED_IF_PUBLIC: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",  # private
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",  # shared, behind a carrier's NAT (RFC 6598)
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "198.51.100.0/24",
            "203.0.113.0/24",
            "192.88.99.0/24",  # relays of 6to4, deprecated (RFC 7526)
            "198.18.0.0/15",  # benchmarks
            # All IPv6 but global unicast (2000::/3): unique local, discard, segment routing, …
            "::/3",
            "4000::/2",
            "8000::/1",
            "2001::/23",  # protocol assignments, Teredo
            "2001:db8::/32",  # documentation
            "3fff::/20",
        ),
    )
)
# Exempt: only the IPv4 address inside counts. NAT64 is how an IPv6 network reaches IPv4.
PUBLIC_BY_IPV4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

# IPv6 networks whose last 32 bits are an IPv4 address.
IPV4_IN_LAST_BITS = (
    IPv6Network("::/96"),  # IPv4-compatible (RFC 4291)
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
)
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # NAT64 of local use (RFC 8215)


@dataclass(frozen=True)
class EgressPolicy:
    """Decide by the narrowest matching rule; of two equally narrow rules, by the denial.

    Rules for names come before rules for networks. A denied name is not looked up; an allowed name
    may resolve to any address. A rule of `allow` or `deny` beats a default of the same width.
    `own` holds the (IP address, port) pairs of this service's own database, always denied.
    `default` is `private`, or `public`: then private, shared and local networks are denied, too.
    """

    allow: Collection[Rule] = ()
    deny: Collection[Rule] = ()
    own: Collection[tuple[str, int]] = frozenset()
    default: str = "private"

    def check_name(self, host: str) -> None:
        """Raise EgressDenied if a host can be refused without a DNS lookup.

        That is a denied name, or a denied IP address in plain notation.
        """
        address = parse_address(host)
        is_denied = self._is_name_allowed(host) is False
        if is_denied or (address is not None and self._is_network_denied(address)):
            raise EgressDenied

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, best first, after one lookup.

        Raises HostNotFound, and EgressDenied unless every address is allowed.
        """
        self.check_name(host)
        addresses = look_up(host)
        self.check_addresses(host, addresses, port)
        return addresses

    def check_addresses(self, host: str, addresses: Collection[str], port: int) -> None:
        """Raise EgressDenied unless every address of a host is allowed."""
        is_allowed = self.is_foreign if self._is_name_allowed(host) else self.allows
        if not all(is_allowed(address, port) for address in addresses):
            raise EgressDenied

    def allows(self, address: str, port: int) -> bool:
        """Return whether an IP address may be connected to, by the rules for networks alone."""
        parsed = parse_address(address)
        return (
            parsed is not None
            and not self._is_network_denied(parsed)
            and self.is_foreign(address, port)
        )

    def is_foreign(self, address: str, port: int) -> bool:
        """Return whether an address is not that of the service's own database."""
        own = {
            meaning
            for own_address, own_port in self.own
            if own_port == port
            for meaning in meanings(ip_address(own_address))
        }
        if not own:
            return True
        target = set(meanings(ip_address(address)))
        # A database on this machine may listen on all of the machine's addresses.
        is_local = any(map(is_this_machine, own)) and any(map(is_this_machine, target))
        return not is_local and own.isdisjoint(target)

    def _is_name_allowed(self, host: str) -> bool | None:
        """Return whether the rules for names allow a host; None if no rule matches."""
        name = parse_name(host)
        matching = [
            (not rule.startswith(WILDCARD), len(rule), is_denial)
            for rules, is_denial in ((self.allow, False), (self.deny, True))
            for rule in rules
            if isinstance(rule, str) and name is not None and matches(rule, name)
        ]
        return not max(matching)[-1] if matching else None

    def _is_network_denied(self, address: Address) -> bool:
        """Return whether the rules for networks deny an address, or an IPv4 address inside it."""
        return any(map(self._is_denied_literally, meanings(address)))

    def _is_denied_literally(self, address: Address) -> bool:
        is_public = self.default == "public" and not any(address in net for net in PUBLIC_BY_IPV4)
        matching = [
            (rule.prefixlen, is_configured, is_denial)
            for rules, is_configured, is_denial in (
                (DENIED_BY_DEFAULT, False, True),
                (DENIED_IF_PUBLIC if is_public else (), False, True),
                (self.allow, True, False),
                (self.deny, True, True),
            )
            for rule in rules
            if not isinstance(rule, str) and address in rule
        ]
        return bool(matching) and max(matching)[-1]


def egress_policy() -> EgressPolicy:
    """Return the policy of the settings, with the current addresses of our own database.

    Raises HostNotFound if the host of the database cannot be resolved.
    """
    return EgressPolicy(
        settings.EGRESS_ALLOW,
        settings.EGRESS_DENY,
        frozenset(own_database_addresses()),
        settings.EGRESS_DEFAULT,
    )


def own_database_addresses() -> Iterator[tuple[str, int]]:
    """Yield every (IP address, port) at which libpq finds our own database, or its replica."""
    return chain.from_iterable(map(addresses_of, settings.DATABASES.values()))


def addresses_of(database: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the (IP address, port) pairs of one entry of `DATABASES`.

    A server behind a Unix socket also listens on loopback, unless it is the embedded one.
    """
    # libpq's defaults: PGHOST, PGPORT, a service file, or compiled in.
    defaults = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val
    }
    options = {**defaults, **database.get("OPTIONS", {})}
    hosts = (database["HOST"] or options.get("host", "")).split(",")
    hostaddrs = options.get("hostaddr", "").split(",")
    ports = [int(port) for port in str(database["PORT"] or options["port"]).split(",")]
    for host, hostaddr in zip_longest(hosts, hostaddrs, fillvalue=""):
        target = hostaddr or host
        if target and not target.startswith(("/", "@")):
            yield from product(look_up(target), ports)
        elif not settings.IS_DATABASE_EMBEDDED:
            yield from product(["127.0.0.1"], ports)


def look_up(host: str) -> list[str]:
    """Return the addresses of a host, allowed or not. Raises HostNotFound."""
    try:
        # Python would convert a name beyond ASCII by itself, to that of another domain.
        name = host if host.isascii() else to_ascii(host)
        answers = lookup(name, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # ValueError: not a valid host name
        raise HostNotFound from None
    addresses = list(dict.fromkeys(with_zone(answer[4]) for answer in answers))
    if not addresses:
        raise HostNotFound
    return addresses


def with_zone(sockaddr: tuple[Any, ...]) -> str:
    """Return the IP address of a socket address, with its IPv6 zone if it has one (RFC 4007)."""
    address, *rest = sockaddr
    zone = rest[2] if len(rest) > 2 else 0
    return f"{address}%{zone}" if zone else str(address)


def parse_address(host: str) -> Address | None:
    """Return an IP address in plain notation; None if the text is anything else."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def parse_name(host: str) -> str | None:
    """Return a host name as rules spell it; None if the text is no host name.

    Addresses are no names, in any spelling (`127.1`, `0x7f000001`).
    """
    try:
        name = to_ascii(host)
    except ValueError:
        return None
    return name if HOST_NAME.fullmatch(name) else None


def matches(rule: str, name: str) -> bool:
    """Return whether a rule covers a name; `*.example.com` covers all names below example.com."""
    return name == rule or (rule.startswith(WILDCARD) and name.endswith(rule[1:]))


def meanings(address: Address) -> Iterator[Address]:
    """Yield an address without its zone, and the IPv4 addresses that are embedded in it."""
    if isinstance(address, IPv4Address):
        yield address
        return
    bits = int(address)
    yield IPv6Address(bits)
    if bits > 1 and any(address in network for network in IPV4_IN_LAST_BITS):
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address in NAT64_LOCAL:
        yield from behind_nat64(bits)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def behind_nat64(bits: int) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a NAT64 may read in an IPv6 address.

    Its prefix may have 48, 56, 64 or 96 bits. By RFC 6052, section 2.2, bits 64 to 71 do not count,
    and zeros follow the IPv4 address.
    """
    joined = bits >> 64 << 56 | bits & (1 << 56) - 1
    candidates = [joined >> n for n in (40, 32, 24) if joined & (1 << n) - 1 == 0]
    for candidate in (bits, *candidates):
        ipv4 = IPv4Address(candidate & 0xFFFFFFFF)
        if int(ipv4) >> 24:  # else a wrong prefix length was tried: 0.0.0.0/8 has no hosts
            yield ipv4


def is_this_machine(address: Address) -> bool:
    """Return whether an address belongs to this machine: only then a socket can be bound to it."""
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
