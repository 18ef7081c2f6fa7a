"""The grammar of connection strings: the parts of a URL, or why it is none.

The grammar is stricter than that of any driver. Drivers disagree about where a host ends (libpq
takes `a,b`, a directory, `?host=` and `?hostaddr=`), so only what all of them read the same way is
accepted: scheme://user:password@host:port/database?option=value. No error repeats the string,
which may have a password in it.
"""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from django.core.exceptions import ValidationError

from datasources.connections.url_options.option import fold
from datasources.connections.url_options.reading import ADVICE
from datasources.models.host_errors import surrounding_white_space
from datasources.models.validators import is_mask
from rivergen.hosts import ENDS_IN_NUMBER, InvalidHost, canonical_host, code_point, is_host

PLACEHOLDER_FOR_PASSWORD = (
    "Has a placeholder for a password. Write the password itself, or leave it out."
)
PORT = "The port must be a whole number from 1 to 65535, or left out with its colon."
HOSTS_MAX = 50
"""As many members as a replica set of MongoDB may have."""
OPTIONS_MAX = 50
NO_HOST = "The host must be a host name or an IP address."
EXAMPLE = "scheme://user@host:port/database"
OPTIONS_ELSEWHERE = f"Must be a URL: {EXAMPLE}?option=value. Options follow after ?, joined by &."
OPTION = ";[A-Za-z_ ]+="  # as JDBC, ADO and ODBC write it
ONE_SCHEME = "Has a scheme twice. Write one :// only, and the host without https://."
NO_FUNCTION = f"Must be a URL: {EXAMPLE}, with host:port in place of tcp(host:port)."
START = re.compile(r"([A-Za-z][A-Za-z0-9+._-]{0,60})://")
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
QUOTES = ('"', "'", "`", "“", "”", "‘", "’")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
# What has a meaning in a URL, or none that all drivers agree on, so that it must be escaped.
IN_USER = re.compile(r"%(?![0-9A-Fa-f]{2})|[/?#@\[\] \\]")
AFTER_HOST = re.compile(r"%(?![0-9A-Fa-f]{2})|[#\[\] \\;]")
ESCAPES = {letter: f"%{ord(letter):02X}" for letter in "%/?#@[]\\;"} | {" ": "%20"}
# What documentation has in place of a name or password: <password>, [YOUR-PASSWORD], ${DB_PASS}.
PLACEHOLDER_IN_ADDRESS = re.compile(r"[<>{}$]|\[[A-Za-z _-]+\]")
PLACEHOLDER = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\$?\{[^{}]*\}|\{\{[^{}]*\}\}|\$\([^()]*\)")
# The options that contain a secret, in the spellings of all drivers, and the credential of each.
SECRET_OPTIONS = {
    "password": "password",
    "passwd": "password",
    "pwd": "password",
    "token": "token",
    "access_token": "token",
}


@dataclass(frozen=True)
class Option:
    """An option as it was written, and decoded."""

    written: str
    name: str
    value: str

    @property
    def secret(self) -> str | None:
        """The kind of secret that it contains, one of the values of `SECRET_OPTIONS`, or None."""
        return SECRET_OPTIONS.get(self.name.lower())

    @property
    def has_plus(self) -> bool:
        """Whether its value has a `+`, which some clients read as a space."""
        return "+" in self.written.partition("=")[2]


@dataclass(frozen=True)
class URL:
    """The parts of a connection string: user, password and path as written, the rest decoded."""

    scheme: str
    user: str
    password: str
    address: str
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    options: tuple[Option, ...]

    @property
    def may_name_options(self) -> bool:
        """Whether no option can be the rest of a password whose `&` or `@` was not escaped."""
        return not any(option.secret or "@" in option.written for option in self.options)

    @property
    def secrets(self) -> list[tuple[str, str]]:
        """The secrets as pairs of a value of `SECRET_OPTIONS` and a secret."""
        secrets = [("password", unquote(self.password))]
        secrets += [(option.secret, option.value) for option in self.options if option.secret]
        return [(kind, secret) for kind, secret in secrets if secret]


def parse(text: str) -> URL:
    """Return the parts of a connection string. Raises ValidationError (400)."""
    start = START.match(text)
    if start is None:
        raise ValidationError(explain_start(text))
    rest = text[start.end() :]
    if re.match(r"sqlite|duckdb|file\b", start[1], re.IGNORECASE):
        raise ValidationError("Files are named by file_path, not by a connection string.")
    if text[-1].isspace():
        raise ValidationError(surrounding_white_space(text))
    if CONTROL_CHARACTERS.search(text):
        raise ValidationError("Must not contain control characters.")
    end = end_of_user(rest)
    schemes = (start[0].lower(), "http://", "https://")
    if rest.lower().startswith(schemes) or rest[end:].lower().startswith(schemes):
        raise ValidationError(ONE_SCHEME)
    check_user(rest[:end])
    check_after_user(rest[end:])
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValidationError(
            "An escape in it, such as %FF, is not UTF-8. In a password write % as %25."
        ) from None
    if CONTROL_CHARACTERS.search(decoded):
        raise ValidationError("Must not contain control characters.")
    user, _, password = rest[: max(end - 1, 0)].partition(":")
    before, mark, query = rest[end:].partition("?")
    address, _, path = before.partition("/")
    return URL(
        scheme=start[1].lower(),
        user=user,
        password=password,
        address=address,
        hosts=read_hosts(address),
        path=path,
        options=read_query(query) if mark and query else (),
    )


def end_of_user(rest: str) -> int:
    """Return where the host begins: after the last `@` that can belong to the user.

    An `@` in the options is no such, if the user has ended before: drivers agree on that.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority and "@" not in rest.partition("?")[0][len(authority) :]:
        return authority.rfind("@") + 1
    return rest.rfind("@") + 1


def check_user(user: str) -> None:
    """Raise ValidationError (400) if a character with a meaning in URLs is not escaped.

    `user` includes the password and the `@` at its end.
    """
    name, colon, password = user[:-1].partition(":")
    if PLACEHOLDER.fullmatch(password):
        raise ValidationError(PLACEHOLDER_FOR_PASSWORD)
    # Of JDBC: with an @ in the password, its end would be looked up as a host.
    if re.search(OPTION, name) or re.match(f"[0-9]{{1,5}}{OPTION}", password):
        raise ValidationError(OPTIONS_ELSEWHERE)
    if found := IN_USER.findall(user[:-1]):
        where = "a password" if colon and not IN_USER.search(name) else "a user name"
        raise ValidationError(f"In {where} write {escapes(found)}.")


def check_after_user(after: str) -> None:
    """Raise ValidationError (400) if address, database or options have an unescaped character."""
    if re.search("[?&]odbc_connect=", after, re.IGNORECASE):
        raise ValidationError(f"The option odbc_connect is not taken. {ADVICE['odbcconnect']}")
    address = re.split("[/?#]", after, maxsplit=1)[0]
    if re.match(r"(tcp|unix)?\((?!\w+=)", address):
        raise ValidationError(NO_FUNCTION)
    if "\\" in address:
        raise ValidationError(
            "Must name the host without an instance. Write the port of the instance instead: "
            "host:port."
        )
    if "&amp;" in after:
        raise ValidationError("Write & in place of &amp;.")
    if ";" in address or re.search(OPTION, after):
        raise ValidationError(OPTIONS_ELSEWHERE)
    if PLACEHOLDER_IN_ADDRESS.search(address):
        raise ValidationError("Has a placeholder for the host or the port. Write it out.")
    if " " in address:
        raise ValidationError("Has a space in the host. Remove it.")
    if hidden := [
        letter for letter in after[len(address) :] if unicodedata.category(letter) == "Cf"
    ]:
        raise ValidationError(
            f"Has the invisible character {code_point(hidden[0])} in the database or the options. "
            "Remove it."
        )
    if found := AFTER_HOST.findall(after[len(address) :]):
        raise ValidationError(f"In the database and the options write {escapes(found)}.")


def escapes(letters: list[str]) -> str:
    """Return how to write these characters, as a list in words."""
    return ", ".join(
        f"{'a space' if letter == ' ' else letter} as {escape}"
        for letter, escape in ESCAPES.items()
        if letter in letters
    )


def read_hosts(address: str) -> tuple[tuple[str, int | None], ...]:
    """Return the hosts and ports. Raises ValidationError (400)."""
    hosts: list[tuple[str, int | None]] = []
    parts = address.split(",")
    if len(parts) > HOSTS_MAX:
        raise ValidationError(f"Must have at most {HOSTS_MAX} hosts.")
    for part in parts:
        found = ADDRESS.fullmatch(part)
        # Without a host, libpq would connect to a socket on this machine.
        if not part:
            raise ValidationError(f"Must name a host: {EXAMPLE}. Sockets and files are not used.")
        if hosts and part.isdecimal():
            raise ValidationError("Write the port after a colon: host:port.")
        if found is None:
            raise ValidationError(explain_host(part))
        host = read_host(found[1])
        number = int(found[2]) if found[2] else None
        if number is not None and not 1 <= number <= 65_535:
            raise ValidationError(PORT)
        hosts.append((host, number))
    return tuple(hosts)


def explain_host(part: str) -> str:
    """Return why a part of the address is no host with a port, and what to write instead."""
    if part.startswith("[") and "%" in part and is_host(part[1:].partition("%")[0]):
        return "Write an IPv6 address without its zone."
    name, colon, port = part.rpartition(":")
    if is_host(part.strip("[]")) or (":" in name and is_host(name)):
        return "Write an IPv6 address in brackets: [2001:db8::1]."
    return PORT if colon and "]" not in port and not port.isdecimal() else NO_HOST


def read_host(written: str) -> str:
    """Return the one spelling of a host; letters beyond ASCII may be escaped (RFC 3986, 3.2.2).

    Raises ValidationError (400).
    """
    has_brackets = written.startswith("[")
    host = written[1:-1] if has_brackets else unquote(written)
    try:
        canonical = canonical_host(host)
    except InvalidHost as error:
        # Other reasons quote a part of the text, which may be the end of a password.
        may_be_shown = not host.isascii() or ENDS_IN_NUMBER.fullmatch(host.lower())
        raise ValidationError(f"{NO_HOST} {error}" if may_be_shown else NO_HOST) from None
    if (":" in host) != has_brackets:  # an escaped address, or a name in brackets
        raise ValidationError(NO_HOST)
    return canonical


def read_query(query: str) -> tuple[Option, ...]:
    """Return the options after `?`. Raises ValidationError (400)."""
    options = []
    parts = [part for part in query.split("&") if part]  # many write ?&a=b, or end with &
    if len(parts) > OPTIONS_MAX:
        raise ValidationError(f"Must have at most {OPTIONS_MAX} options.")
    for written in parts:
        name, equals, value = written.partition("=")
        if not (name and equals):
            raise ValidationError("The options after ? must be name=value, joined by &.")
        option = Option(written, unquote(name), unquote(value))
        if not option.secret and re.search(r"\?[A-Za-z_]+=", value):
            raise ValidationError("Options are joined by &, not by ?. In a value write ? as %3F.")
        options.append(option)
    secrets = [fold(option.name) for option in options if option.secret]
    if len({*secrets}) < len(secrets):
        raise ValidationError("Has the same secret twice. Write it once.")
    return tuple(options)


def check_placeholders(url: URL) -> None:
    """Raise ValidationError (400) if a mask or placeholder stands for a secret or a name."""
    if any(is_mask(secret) for _, secret in url.secrets):
        raise ValidationError(
            "Has a mask for a password. Leave the password out to keep the stored one."
        )
    written = [option.written.partition("=")[2] for option in url.options if option.secret]
    # Escaped, such text is meant as it is.
    for part in (url.password, *written):
        if PLACEHOLDER.fullmatch(part):
            raise ValidationError(PLACEHOLDER_FOR_PASSWORD)
    for what, part in (("user name", url.user), ("database", url.path)):
        if PLACEHOLDER.fullmatch(part):
            raise ValidationError(f"Has a placeholder for the {what}. Write the {what} itself.")


def check_user_and_database(url: URL) -> None:
    """Raise ValidationError (400) if they contain what stands beside them: a password, options."""
    if ":" in unquote(url.user) and not url.password:
        raise ValidationError("Write the : between user and password as it is, not as %3A.")
    if re.search("[?&][A-Za-z_]+=", unquote(url.path)):
        raise ValidationError(OPTIONS_ELSEWHERE)
    if url.path.endswith(QUOTES):
        raise ValidationError(
            f"The database ends in a quote. Remove it, or write it as {quote(url.path[-1])}."
        )


def explain_start(text: str) -> str:
    """Return why a text is no URL, and what to write instead."""
    if text[:1].isspace():
        return surrounding_white_space(text)
    if unicodedata.category(text[:1] or "x") == "Cf":
        return f"Has the invisible character {code_point(text[0])} before it. Remove it."
    if text.startswith(QUOTES):
        return "Has quotes around it. Remove them."
    if re.match(r"[^=]{1,60}=[ \"']{0,2}[A-Za-z][A-Za-z0-9+._-]{0,60}://", text):
        return "Must begin with the scheme, such as postgresql://. Remove the name and = before it."
    if text[:5].lower() == "jdbc:":
        return f"Must be a URL. Leave out jdbc: and write {EXAMPLE}."
    if re.match(r"[A-Za-z][A-Za-z0-9_ ]{0,40}=", text):
        return (
            f"Must be a URL, not a list of name=value. Write {EXAMPLE}, or use host, port, "
            "database_name and the credentials instead."
        )
    if re.search(r"@(tcp|unix)\(", text):
        return NO_FUNCTION
    if re.search("[A-Za-z][A-Za-z0-9+._-]{0,60}://", text):
        return "Must begin with the scheme, such as postgresql://. Remove what is before it."
    return f"Must be a URL: {EXAMPLE}."
