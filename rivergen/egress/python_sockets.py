"""Holds Python's drivers to the egress policy, whatever host a server tells them of."""

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

from datasources.connections.failures import Code, ConnectionFailure
from rivergen.egress.policy import EgressPolicy, lookup, parse_address
from rivergen.egress.rules import ascii_name

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
    """Let this process look up and connect to nothing but what the policy allows.

    `pins` says which IP address a host name has; it is not looked up. `allowed` are (IP address,
    port) that are connected to without asking the policy, as this machine's end of a tunnel, or
    what an allowed name has resolved to; the service's own database is not even then.

    Refusals are socket.gaierror and PermissionError. It is for all threads, and meant for a child
    process that does one thing; of several at once the one entered last rules. It sees Python's
    own sockets: libpq has to be given checked addresses, and FreeTDS is `confined`.
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
    """Answers for `socket`'s look-ups, and judges where its sockets go."""

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
        """Do what socket.getaddrinfo does, for what is pinned or allowed."""
        # To listen on, or no more than to read an address: connecting is judged anyway.
        if host is None or flags & (socket.AI_PASSIVE | socket.AI_NUMERICHOST):
            return lookup(host, port, family, type, proto, flags)
        if isinstance(host, bytes):
            host = host.decode()
        pinned = self._pins.get(_key(host))
        answers: list[Any] = []
        for address in [pinned] if pinned else self._resolve(host, port):
            try:
                # Of an address, this makes what the caller wants: its family, types and port.
                answers += lookup(address, port, family, type, proto, socket.AI_NUMERICHOST)
            except socket.gaierror:  # it is of another family
                continue
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, Code.DNS_FAILED.label)
        if not pinned:
            self._allowed.update(_target(*answer[4][:2]) for answer in answers)
        return answers

    def gethostbyname(self, hostname: str) -> str:
        """Do what socket.gethostbyname does, for what is pinned or allowed."""
        return self.gethostbyname_ex(hostname)[2][0]

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """Do what socket.gethostbyname_ex does, for what is pinned or allowed."""
        answers = self.getaddrinfo(hostname, None, socket.AF_INET, socket.SOCK_STREAM)
        return hostname, [], [answer[4][0] for answer in answers]

    def judge(self, sockaddr: Any) -> None:
        """Raise PermissionError if a socket may not connect, or send, to this address."""
        # Neither the path of a Unix socket, nor a name: that was looked up out of sight.
        if not (is_numeric(sockaddr) and self._is_allowed(*sockaddr[:2])):
            raise PermissionError(errno.EACCES, Code.EGRESS_DENIED.label)

    def _is_allowed(self, address: str, port: int) -> bool:
        if self._allowed.isdisjoint((_target(address, port), _target(address, ANY_PORT))):
            return self._policy.allows(address, port)
        return self._policy.is_foreign(address, port)

    def _resolve(self, host: str, port: str | bytes | int | None) -> list[str]:
        # A port by its name is judged when it is connected to.
        number = port if isinstance(port, int) else ANY_PORT
        try:
            return self._policy.resolve(host, number)
        except ConnectionFailure as failure:
            is_unknown = failure.code == Code.DNS_FAILED
            status = socket.EAI_NONAME if is_unknown else socket.EAI_FAIL
            raise socket.gaierror(status, str(failure)) from None


def nameservers() -> list[str]:
    """Give the addresses of the resolvers of this machine, which dnspython asks by itself."""
    try:
        return NAMESERVER.findall(RESOLV_CONF.read_text())
    except OSError:
        return []


def is_numeric(sockaddr: Any) -> bool:
    """Whether this is an IP address, plainly written, and a port."""
    match sockaddr:
        case (str(address), int(), *_):
            return parse_address(address) is not None
    return False


def _key(host: str) -> str:
    """Give a host as pins have it; what cannot be a name stays as it is."""
    try:
        return ascii_name(host)
    except ValueError:
        return host


def _target(address: str, port: int) -> Target:
    """Give an address and a port in the one form in which they are compared, without a zone."""
    return parse_address(address.partition("%")[0]), port


def _patch() -> None:
    """Let `socket` ask the guard that rules, or nobody if there is none."""
    for name in PATCHED:
        setattr(socket, name, getattr(_guards[-1], name) if _guards else _originals[name])


@cache
def _watch() -> None:
    """Have Python tell of every connection from now on: a hook cannot be removed."""
    sys.addaudithook(_judge)


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in WATCHED or not _guards:
        return
    sockaddr = arguments[1]
    if sockaddr is None:  # it sends over a connection that it has
        return
    for guard in _guards[-1:]:
        guard.judge(sockaddr)
