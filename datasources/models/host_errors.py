"""Errors about hosts: what is wrong with a text, and what to write instead."""

import re

from rivergen.hosts import code_point, is_host

# What people paste: the parts of a URL around the host, and `host,port` from SQL Server's tools.
PASTED = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.:-]*://)?"
    r"(?P<user>.*@)?"
    r"(?P<bracket>\[)?(?P<host>(?(bracket)[^\]]*|[^\[\]/?#:,@]*))(?(bracket)\])"
    r"(?:[:,](?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?#].*)?",
    re.DOTALL,
)
WHITE_SPACE = {" ": "a space", "\t": "a tab", "\n": "a line break", "\r": "a line break"}


def host_error(text: str, reason: str, port_field: str) -> str:
    """Return the error for a text that is no host.

    `reason` says why, as `canonical_host` does; `port_field` is the field of the port. Of a text
    with a user nothing is repeated: it may have a password, too.
    """
    if text != text.strip():
        return surrounding_white_space(text)
    address, zone, _ = text.partition("%")
    if zone and ":" in address and is_host(address):
        return f"Write an IPv6 address without its zone: {address}"
    pasted = PASTED.fullmatch(text)
    if pasted is None or not any(pasted.group("scheme", "user", "bracket", "port", "path")):
        return f"Must be a host name or an IP address. {reason}"
    if not is_host(pasted["host"]):
        return "Must be a host name or an IP address, and nothing else."
    if pasted["user"]:
        return "Write the host alone. The user and the password belong in the credentials."
    is_url = pasted["scheme"] and not pasted["scheme"].lower().startswith("http")
    has_brackets = pasted["bracket"] and not pasted["scheme"]
    order = "Write an IPv6 address without brackets" if has_brackets else "Write the host alone"
    if pasted["port"]:
        order += f", {pasted['host']}, and put the port {pasted['port']} into {port_field}."
    else:
        order += f": {pasted['host']}"
    if is_url:
        return f"{order.removesuffix('.')}. Or put the whole URL into connection_string."
    return order


def surrounding_white_space(text: str) -> str:
    """Return the error for a text with white space at its start or end."""
    start, end = text[0], text[-1]
    places = [(start, "start")] * start.isspace() + [(end, "end")] * end.isspace()
    found = " and ".join(
        f"{WHITE_SPACE.get(letter) or code_point(letter)} at the {place}"
        for letter, place in places
    )
    return f"Has {found}. Remove it." if text.strip() else f"Has {found}, and nothing else."
