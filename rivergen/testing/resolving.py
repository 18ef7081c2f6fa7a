"""A fake resolver, a listener and denied addresses for tests of the egress policy."""

import socket
from collections.abc import Collection
from contextlib import ExitStack
from unittest import mock

from rivergen.egress import policy as policy_module
from rivergen.egress.policy import EgressPolicy
from rivergen.egress.rules import parse_rules

# Rules that allow every address in LOOPBACK.
ALLOW_LOOPBACK = "127.0.0.0/8,127.0.0.1,0.0.0.0/8,::,::1,::/96,*.example.com,localhost"
PUBLIC = "203.0.113.7"

# What an attacker's resolver answers. A name with several answers returns the next each time.
NAMES = {
    "localhost": [["127.0.0.1", "::1"]],
    "ip6-localhost": [["::1"]],
    "loopback.example.com": [["127.0.0.1"]],
    "loopback6.example.com": [["::1"]],
    "mapped.example.com": [["::ffff:127.0.0.1"]],
    "nat64.example.com": [["64:ff9b::7f00:1"]],
    "zero.example.com": [["0.0.0.0"]],
    "half.example.com": [[PUBLIC, "127.0.0.1"]],
    "half6.example.com": [["2001:db8::7", PUBLIC, "::1"]],
    "xn--bcher-kva.example.com": [["127.0.0.1"]],
    "db.example.test": [["127.0.0.1"]],
    "xn--fa-hia.example.test": [["127.0.0.1"]],
    # What IDNA 2003 makes of faß.example.test: the server of somebody else.
    "fass.example.test": [["127.0.0.9"]],
    "metadata.example.com": [["169.254.169.254"]],
    "public.example.com": [[PUBLIC]],
    "private.example.com": [["10.0.0.5", "fd12::5"]],
    "rebind.example.com": [[PUBLIC], ["127.0.0.1"]],
}

LOOPBACK = (
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0x1",
    "0",
    "0x0",
    "0.0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "ip6-localhost",
    "::1",
    "::",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "0::0.0.0.1",
    "::1%lo",
    "::1%1",
    "::ffff:127.0.0.1",
    "::FFFF:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0.0.0.0",
    "0:0:0:0:0:ffff:127.0.0.1",
    "::127.0.0.1",
    "::7f00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:7f00:0:100::",
    "2002:7f00:1::",
    "2002:7f00:1::1",
    "2001:0:cb00:7107::80ff:fffe",
    "2001:0:7f00:1::34ff:8ef8",
    "127.0.0.1.",
    "１２７.0.0.1",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "１２７。１",
    "ｌｏｃａｌｈｏｓｔ",
    "：：１",
    "loopback.example.com",
    "LOOPBACK.example.COM.",
    "loopback6.example.com",
    "mapped.example.com",
    "nat64.example.com",
    "zero.example.com",
    "half.example.com",
    "half6.example.com",
    "bücher.example.com",
    "BÜCHER.example.com.",
)

METADATA = (
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0251.254.43518",
    "169.16689662",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::",
    "１６９.254.169.254",
    "metadata.example.com",
    "METADATA.example.com.",
    "169.254.170.2",
    "169.254.1.1",
    "fd00:ec2::254",
    "fd00:ec2:0:0::0254",
    "fd20:ce::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fe80::1",
    "fe80::1%lo",
    "febf::1",
    "fec0::1",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "ff05::2",
    "240.0.0.1",
    "255.255.255.255",
)


def policy(
    allow: str = "",
    deny: str = "",
    own: Collection[tuple[str, int]] = (),
    default: str = "private",
) -> EgressPolicy:
    """Return a policy of rules written as in the settings."""
    return EgressPolicy(parse_rules(allow), parse_rules(deny), frozenset(own), default)


class Resolver:
    """Resolve NAMES, and addresses in every spelling of libc; record the names asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host, port, family=0, type=0, proto=0, flags=0):
        assert host.isascii(), f"Python would convert {host} by IDNA 2003"
        key = host.lower().removesuffix(".")
        answers = NAMES.get(key)
        if answers is None:
            return libc_getaddrinfo(host, port, family, type, proto, socket.AI_NUMERICHOST)
        turn = min(self.asked.count(key), len(answers) - 1)
        self.asked.append(key)
        return [
            answer
            for address in answers[turn]
            for answer in libc_getaddrinfo(address, port, 0, type, proto, socket.AI_NUMERICHOST)
        ]


libc_getaddrinfo = socket.getaddrinfo


def resolving(stack: ExitStack) -> Resolver:
    """Make the policy use a new Resolver until the stack closes."""
    return stack.enter_context(mock.patch.object(policy_module, "lookup", Resolver()))


class Listener:
    """Listen on one port of 127.0.0.1, and of ::1 if the machine has it."""

    def __init__(self, stack: ExitStack) -> None:
        self._sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        self.port = self._sockets[0].getsockname()[1]
        try:
            ipv6 = socket.create_server(("::1", self.port), family=socket.AF_INET6)
        except OSError:
            return
        self._sockets.append(stack.enter_context(ipv6))

    def was_untouched(self) -> bool:
        """Return whether no client has connected yet: a connection made now arrives first."""
        return all(map(self._is_first, self._sockets))

    def _is_first(self, server: socket.socket) -> bool:
        with socket.create_connection(server.getsockname()[:2]) as probe:
            accepted, peer = server.accept()
            accepted.close()
            return peer == probe.getsockname()
