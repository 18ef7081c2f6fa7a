"""The egress policy: which hosts and addresses this service may connect to."""

import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain, product, zip_longest
from typing import Any

from django.conf import settings
from psycopg.pq import Conninfo

from datasources.connections.endpoint import LOOPBACK
from datasources.connections.failures import Code, ConnectionFailure
from rivergen.egress.rules import HOST_NAME, WILDCARD, Network, Rule, ascii_name

Address = IPv4Address | IPv6Address

# The real one, whatever `guard` puts in its place.
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
            # Metadata of clouds: each by itself, so that no wider rule allows it by accident.
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
    """Decides by the narrowest rule that fits; of two equally narrow ones, by the denial.

    Rules for names come before those for networks. A denied name is not even looked up; an allowed
    one may mean any address. A rule of `allow` or `deny` outweighs a default of the same width.
    `own` are the (IP address, port) of this service's own database, which nothing allows.
    """

    allow: Collection[Rule] = ()
    deny: Collection[Rule] = ()
    own: Collection[tuple[str, int]] = frozenset()

    def check_name(self, host: str) -> None:
        """Refuse what needs no lookup to be refused: denied names, and addresses.

        Raises ConnectionFailure (EGRESS_DENIED).
        """
        address = parse_address(host)
        is_denied = self._is_name_allowed(host) is False
        if is_denied or (address is not None and self._is_network_denied(address)):
            raise ConnectionFailure(Code.EGRESS_DENIED)

    def resolve(self, host: str, port: int) -> list[str]:
        """Look a host up, once; give its addresses, best first, if each of them is allowed.

        Raises ConnectionFailure (EGRESS_DENIED, DNS_FAILED).
        """
        self.check_name(host)
        addresses = look_up(host)
        self.check_addresses(host, addresses, port)
        return addresses

    def check_addresses(self, host: str, addresses: Collection[str], port: int) -> None:
        """Refuse the addresses of a host unless each is allowed.

        Raises ConnectionFailure (EGRESS_DENIED).
        """
        is_allowed = self.is_foreign if self._is_name_allowed(host) else self.allows
        if not all(is_allowed(address, port) for address in addresses):
            raise ConnectionFailure(Code.EGRESS_DENIED)

    def allows(self, address: str, port: int) -> bool:
        """Whether an IP address may be connected to, apart from what its name allows."""
        parsed = parse_address(address)
        return (
            parsed is not None
            and not self._is_network_denied(parsed)
            and self.is_foreign(address, port)
        )

    def is_foreign(self, address: str, port: int) -> bool:
        """Whether this is not the service's own database, by any of its addresses."""
        own = {
            meaning
            for own_address, own_port in self.own
            if own_port == port
            for meaning in meanings(ip_address(own_address))
        }
        if not own:
            return True
        asked = set(meanings(ip_address(address)))
        # A server on this machine may listen on all of the machine's addresses.
        is_here = any(map(is_this_machine, own)) and any(map(is_this_machine, asked))
        return not is_here and own.isdisjoint(asked)

    def _is_name_allowed(self, host: str) -> bool | None:
        """Say what the rules for names say; None: nothing."""
        name = parse_name(host)
        matching = [
            (not rule.startswith(WILDCARD), len(rule), is_denial)
            for rules, is_denial in ((self.allow, False), (self.deny, True))
            for rule in rules
            if isinstance(rule, str) and name is not None and matches(rule, name)
        ]
        return not max(matching)[-1] if matching else None

    def _is_network_denied(self, address: Address) -> bool:
        """Whether the rules for networks deny this address, or one hidden in it."""
        return any(map(self._is_denied_as_it_stands, meanings(address)))

    def _is_denied_as_it_stands(self, address: Address) -> bool:
        matching = [
            (rule.prefixlen, is_configured, is_denial)
            for rules, is_configured, is_denial in (
                (DENIED_BY_DEFAULT, False, True),
                (self.allow, True, False),
                (self.deny, True, True),
            )
            for rule in rules
            if not isinstance(rule, str) and address in rule
        ]
        return bool(matching) and max(matching)[-1]


def egress_policy() -> EgressPolicy:
    """Make the policy of the settings. Looks the service's own database up.

    Raises ConnectionFailure (DNS_FAILED) while that is impossible.
    """
    return EgressPolicy(
        settings.EGRESS_ALLOW, settings.EGRESS_DENY, frozenset(own_database_addresses())
    )


def own_database_addresses() -> Iterator[tuple[str, int]]:
    """Give every (IP address, port) at which libpq looks for our own database, or its replica."""
    return chain.from_iterable(map(addresses_of, settings.DATABASES.values()))


def addresses_of(database: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Give those of one of the databases of the settings.

    One that is reached by a Unix socket listens on this machine as well, unless it is embedded.
    """
    # What neither says comes from PGHOST, PGPORT, a service file, or is compiled in.
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
            yield from product([LOOPBACK], ports)


def look_up(host: str) -> list[str]:
    """Give the addresses of a host, without a judgement. Raises ConnectionFailure (DNS_FAILED)."""
    try:
        answers = lookup(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a ValueError is a name that cannot be one
        raise ConnectionFailure(Code.DNS_FAILED) from None
    addresses = list(dict.fromkeys(with_zone(answer[4]) for answer in answers))
    if not addresses:
        raise ConnectionFailure(Code.DNS_FAILED)
    return addresses


def with_zone(sockaddr: tuple[Any, ...]) -> str:
    """Give the IP address of a socket's address; IPv6 keeps its zone apart (RFC 4007)."""
    address, *rest = sockaddr
    zone = rest[2] if len(rest) > 2 else 0
    return f"{address}%{zone}" if zone else str(address)


def parse_address(host: str) -> Address | None:
    """Read a plainly written IP address; None: this is something else."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def parse_name(host: str) -> str | None:
    """Give a host name as rules have it; None: this is an address in some spelling, or nonsense."""
    try:
        name = ascii_name(host)
    except ValueError:
        return None
    return name if HOST_NAME.fullmatch(name) else None


def matches(rule: str, name: str) -> bool:
    """Whether a rule is for this name; a wildcard is for all names below its own."""
    return name == rule or (rule.startswith(WILDCARD) and name.endswith(rule[1:]))


def meanings(address: Address) -> Iterator[Address]:
    """Give an address without its zone, and the IPv4 addresses that are hidden in it."""
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
    """Give all that an address may mean to a NAT64, whose prefix may have 48, 56, 64 or 96 bits.

    By RFC 6052, section 2.2, bits 64 to 71 do not count, and zeros follow the IPv4 address.
    """
    joined = bits >> 64 << 56 | bits & (1 << 56) - 1
    candidates = [joined >> n for n in (40, 32, 24) if joined & (1 << n) - 1 == 0]
    for candidate in (bits, *candidates):
        ipv4 = IPv4Address(candidate & 0xFFFFFFFF)
        if int(ipv4) >> 24:  # else it was read with the wrong prefix: nobody is at 0.0.0.0/8
            yield ipv4


def is_this_machine(address: Address) -> bool:
    """Whether an address is one of this machine's own: those can be bound to."""
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
