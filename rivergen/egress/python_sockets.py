"""Enforce the egress policy on Python's sockets, also for hosts that a server redirects to."""

import errno
import re
import socket
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from rivergen.egress.exceptions import EgressDenied, EgressError, HostNotFound
from rivergen.egress.policy import EgressPolicy, lookup, parse_address
from rivergen.hosts import InvalidHost, to_ascii

Target = tuple[IPv4Address | IPv6Address | None, int]

RESOLV_CONF = Path("/etc/resolv.conf")
DNS_PORT = 53
NAMESERVER = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)
ANY_PORT = 0
PATCHED = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg")

_lock = threading.Lock()
_guards: "list[Guard]" = []
_originals: dict[str, Any] = {}


@contextmanager
def guarded(
    policy: EgressPolicy,
    pins: Mapping[str, str] | None = None,
    allowed: Collection[tuple[str, int]] = (),
) -> Iterator[None]:
    """Restrict lookups and connections of this process to what the policy allows.

    `pins` maps host names to the IP address they have; they are not looked up. `allowed` holds
    (IP address, port) pairs that need no rule, such as the local end of a tunnel, or what an
    allowed name resolved to. The service's own database stays denied.

    Refusals are socket.gaierror and PermissionError. The restriction holds for all threads; of
    nested ones the innermost holds. It covers Python's own sockets only: libpq must be given
    checked addresses, and FreeTDS is `confined`.
    """
    guard = Guard(policy, pins or {}, allowed)
    with _lock:
        if not _guards:
            _originals.update({name: getattr(socket, name) for name in PATCHED})
        _guards.append(guard)
        _patch()
        _watch()
    try:
        yield
    finally:
        with _lock:
            _guards.remove(guard)
            _patch()


class Guard:
    """Resolve hosts in place of `socket`, and check where its sockets connect."""

    def __init__(
        self, policy: EgressPolicy, pins: Mapping[str, str], allowed: Collection[tuple[str, int]]
    ) -> None:
        self._policy = policy
        self._pins = {_key(host): address for host, address in pins.items()}
        resolvers = [(address, DNS_PORT) for address in nameservers()]
        self._allowed = {_target(*pair) for pair in (*allowed, *resolvers)}

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return what socket.getaddrinfo returns, for pinned and allowed hosts only."""
        if isinstance(host, bytes):
            host = host.decode()
        if host is not None and not host.isascii():
            host = self._to_ascii(host)
        # Lookups to listen, or to parse an address, are allowed: the connection is checked later.
        if host is None or flags & (socket.AI_PASSIVE | socket.AI_NUMERICHOST):
            return lookup(host, port, family, type, proto, flags)
        pinned = self._pins.get(_key(host))
        answers: list[Any] = []
        for address in [pinned] if pinned else self._resolve(host, port):
            try:
                # getaddrinfo formats the address for the family, types and port that are asked for.
                answers += lookup(address, port, family, type, proto, socket.AI_NUMERICHOST)
            except socket.gaierror:  # an address of the other family
                continue
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, HostNotFound.message)
        if not pinned:
            self._allowed.update(_target(*answer[4][:2]) for answer in answers)
        return answers

    def gethostbyname(self, hostname: str) -> str:
        """Return what socket.gethostbyname returns, for pinned and allowed hosts only."""
        return self.gethostbyname_ex(hostname)[2][0]

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """Return what socket.gethostbyname_ex returns, for pinned and allowed hosts only."""
        answers = self.getaddrinfo(hostname, None, socket.AF_INET, socket.SOCK_STREAM)
        return hostname, [], [answer[4][0] for answer in answers]

    def check(self, sockaddr: Any) -> None:
        """Raise PermissionError if a socket may not connect, or send, to an address."""
        # Refuse paths of Unix sockets, and names: the socket would look them up unchecked.
        if not (is_numeric(sockaddr) and self._is_allowed(*sockaddr[:2])):
            raise PermissionError(errno.EACCES, EgressDenied.message)

    def _is_allowed(self, address: str, port: int) -> bool:
        if self._allowed.isdisjoint((_target(address, port), _target(address, ANY_PORT))):
            return self._policy.allows(address, port)
        return self._policy.is_foreign(address, port)

    def _to_ascii(self, host: str) -> str:
        """Return a name in ASCII: Python would convert it by itself, to that of another domain."""
        try:
            return to_ascii(host)
        except InvalidHost:
            raise socket.gaierror(socket.EAI_NONAME, HostNotFound.message) from None

    def _resolve(self, host: str, port: str | bytes | int | None) -> list[str]:
        # A port given by name is checked when the socket connects.
        number = port if isinstance(port, int) else ANY_PORT
        try:
            return self._policy.resolve(host, number)
        except EgressError as error:
            is_unknown = isinstance(error, HostNotFound)
            status = socket.EAI_NONAME if is_unknown else socket.EAI_FAIL
            raise socket.gaierror(status, error.message) from None


def nameservers() -> list[str]:
    """Return the addresses of this machine's DNS resolvers: dnspython connects to them itself."""
    try:
        return NAMESERVER.findall(RESOLV_CONF.read_text())
    except OSError:
        return []


def is_numeric(sockaddr: Any) -> bool:
    """Return whether a socket address is an IP address in plain notation, and a port."""
    match sockaddr:
        case (str(address), int(), *_):
            return parse_address(address) is not None
    return False


def _key(host: str) -> str:
    """Return a host as the keys of `pins` spell it; text that is no host name is unchanged."""
    try:
        return to_ascii(host)
    except InvalidHost:
        return host


def _target(address: str, port: int) -> Target:
    """Return an address, without its zone, and a port in a form that can be compared."""
    return parse_address(address.partition("%")[0]), port


def _patch() -> None:
    """Point the functions of `socket` at the innermost guard, or at the originals."""
    for name in PATCHED:
        setattr(socket, name, getattr(_guards[-1], name) if _guards else _originals[name])


@cache
def _watch() -> None:
    """Install the audit hook, once per process: Python cannot remove a hook."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in WATCHED or not _guards:
        return
    sockaddr = arguments[1]
    if sockaddr is None:  # sendmsg on a connected socket
        return
    for guard in _guards[-1:]:
        guard.check(sockaddr)
