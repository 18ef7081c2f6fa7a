"""The one spelling of a host by which it is looked up, allowed, verified and compared.

Internationalized names follow UTS 46 (nontransitional) and IDNA 2008. Python's own codec follows
IDNA 2003, for which faß.de is fass.de, another domain: it must never see a name beyond ASCII.
"""

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

MAX_LENGTH = 253
LABEL_MAX_LENGTH = 63
# What people call the control characters that they paste; Unicode has no names for these.
CONTROLS = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
A_LABEL_PREFIX = "xn--"
# A resolver takes a name whose last label is a number for an address: 127.1 is 127.0.0.1.
NUMBER = r"(?:[0-9]+|0x[0-9a-f]*)"
# One part of a name between dots (RFC 1123), also with underscores, as in container names.
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?:{LABEL}\.)*(?!{NUMBER}\Z){LABEL}")
"""A name in ASCII and lower case, without a final dot. Its labels may be fake A-labels."""
PLAIN_NAME = re.compile(
    rf"(?!.{{{MAX_LENGTH + 1}}})(?:(?!xn--){LABEL}\.)*(?!xn--|{NUMBER}\.?\Z){LABEL}\.?",
    re.ASCII
    | re.IGNORECASE,  # otherwise it would ignore the case of \u0130, \u017f and \u212a, too
)
"""A name that is valid at a glance: in ASCII, without A-labels. Most names are."""
ENDS_IN_NUMBER = re.compile(rf"(?:.*\.)?{NUMBER}\.?", re.DOTALL)


class InvalidHost(ValueError):
    """The text is not a host. The message says why, and what to write instead."""


def canonical_host(host: str) -> str:
    """Return the one spelling of a host: a name in ASCII and lower case, or an IP address.

    A name has no final dot. An IPv6 address is compressed; one that stands for an IPv4 address is
    that. Addresses must be in ASCII, and IPv4 addresses in four decimal numbers: what resolvers
    also take for addresses is refused. Raises InvalidHost.
    """
    if PLAIN_NAME.fullmatch(host):
        return host.lower().removesuffix(".")
    if len(host) > MAX_LENGTH:  # unread: the work of converting grows faster than the text
        raise InvalidHost(f"A host has at most {MAX_LENGTH} characters.")
    return canonical_address(host) or canonical_name(host)


def comparable_host(text: str | None) -> str | None:
    """Return the one spelling of a host; None, and text that is no host, as they are."""
    return canonical_host(text) if text is not None and is_host(text) else text


def is_host(text: str) -> bool:
    """Return whether a text is a host name or an IP address; IPv6 without brackets or zone."""
    try:
        canonical_host(text)
    except InvalidHost:
        return False
    return True


def canonical_address(host: str) -> str | None:
    """Return an IP address in its one spelling; None if the text is no plain IP address."""
    try:
        if ":" not in host:
            return str(IPv4Address(host)) if host.isascii() else None
        address = IPv6Address(host)
    except AddressValueError:
        return None
    # By its number: Python 3.13 writes these addresses in another way than 3.11.
    return None if address.scope_id else str(address.ipv4_mapped or address)


def canonical_name(host: str) -> str:
    """Return a host name in its one spelling. Raises InvalidHost."""
    name = to_ascii(host)
    for letter in host:  # UTS 46 drops some characters, such as soft hyphens
        if not letter.isascii() and not idna.uts46_remap(letter, std3_rules=False):
            raise InvalidHost(f"Has the invisible character {code_point(letter)}. Remove it.")
    if len(name) > MAX_LENGTH:
        raise InvalidHost(
            f"Has {len(name)} characters when written in ASCII. A host has at most {MAX_LENGTH}."
        )
    if ENDS_IN_NUMBER.fullmatch(name):
        raise InvalidHost(
            "Ends in a number, so that some programs read it as an IP address. Write an IPv4 "
            "address as four decimal numbers, such as 192.0.2.1."
        )
    for label in name.split("."):
        check_label(label)
    return name


def check_label(label: str) -> None:
    """Raise InvalidHost unless a label, in ASCII and lower case, is valid."""
    if not label:
        raise InvalidHost("Has an empty part before, after or between its dots.")
    if foreign := re.search(r"[^a-z0-9_-]", label):
        raise InvalidHost(f"Has the character {shown(foreign[0])}, which no host name has.")
    if len(label) > LABEL_MAX_LENGTH:
        raise InvalidHost(
            f"Has a part of {len(label)} characters. Each part between dots has at most "
            f"{LABEL_MAX_LENGTH}."
        )
    if label.startswith("-") or label.endswith("-"):
        raise InvalidHost(
            f"The part {label} begins or ends with a hyphen, which no host name does."
        )
    if label.startswith(A_LABEL_PREFIX):
        try:
            idna.ulabel(label)
        except UnicodeError:
            raise InvalidHost(
                f"The part {label} is not a valid internationalized name. Write it in its own "
                "letters."
            ) from None


def to_ascii(host: str) -> str:
    """Return a host in ASCII and lower case, without a final dot; labels in ASCII are not judged.

    Raises InvalidHost, a ValueError.
    """
    if host.isascii():
        return host.lower().removesuffix(".")
    if len(host) > MAX_LENGTH:
        raise InvalidHost(f"A host has at most {MAX_LENGTH} characters.")
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        labels = [
            label if label.isascii() else idna.alabel(label).decode() for label in mapped.split(".")
        ]
    except idna.IDNAError as error:
        if error.codepoint is None:
            raise InvalidHost(f"Is not a valid internationalized name: {error}.") from None
        letter = shown(chr(error.codepoint))
        raise InvalidHost(f"Has the character {letter} where no name may have it.") from None
    return ".".join(labels).removesuffix(".")


def spellings(host: str) -> set[str]:
    """Return the spellings by which to find a host that was stored as somebody typed it.

    As given, in its one spelling, in its own letters if it has others, and with a final dot.
    """
    canonical = canonical_host(host)
    labels = [
        idna.ulabel(label) if label.startswith(A_LABEL_PREFIX) else label
        for label in canonical.split(".")
    ]
    names = {host, canonical, ".".join(labels)}
    return names if ":" in canonical else names | {f"{name.removesuffix('.')}." for name in names}


def shown(letter: str) -> str:
    """Return a character as an error shows it, with its number unless it is in ASCII."""
    if letter.isascii() and letter.isprintable():
        return f'"{letter}"'
    return f'"{letter}" ({code_point(letter)})' if letter.isprintable() else code_point(letter)


def code_point(letter: str) -> str:
    """Return the number and the name of a character: `U+200B ZERO WIDTH SPACE`."""
    name = unicodedata.name(letter, CONTROLS.get(letter, ""))
    return f"U+{ord(letter):04X} {name}".strip()
