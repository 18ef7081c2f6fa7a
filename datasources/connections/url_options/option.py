"""The options of connection strings: which values each takes, and what the driver gets for it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

NO_EFFECT = ""
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Option:
    """An option that connection strings of a type may have.

    `read` returns the values for the driver that a written value allows, the preferred one first;
    none if the written value is invalid.
    """

    takes: str
    """What may be written, as the end of a sentence: `true or false`."""
    read: Callable[[str], tuple[str, ...]]
    sets: str | None = None
    """The option of the driver, or the field of a `Configuration`, that it sets.

    None: the option of the same name. `NO_EFFECT`: none, as it only tells another client how to
    behave.
    """
    is_label: bool = False
    """Whether the value is only shown to people, so that it does not matter what `+` means."""


class Options(dict[str, Option]):
    """The options that a type takes, by the name that its documentation uses."""

    def find(self, written: str) -> str | None:
        """Return the name of the option that was written; case, `-` and `_` do not matter."""
        return written if written in self else self._names.get(fold(written))

    @cached_property
    def _names(self) -> dict[str, str]:
        return {fold(name): name for name in self}

    def with_effect(self) -> list[str]:
        """Return the names of the options that change a connection."""
        return [name for name, option in self.items() if option.sets != NO_EFFECT]


def fold(name: str) -> str:
    """Return the name of an option in lower case, without `-`, `_`, `+` and spaces."""
    return re.sub("[-_ +]", "", name.lower())


def options_of(option: Option, names: str) -> dict[str, Option]:
    """Return the same option under several names, separated by spaces."""
    return dict.fromkeys(names.split(), option)


def choice(meanings: Mapping[str, Iterable[str]]) -> Option:
    """Return an option that takes the keys, in any case, and means their values to the driver."""
    by_name = {name.lower(): tuple(values) for name, values in meanings.items()}
    return Option(listed(meanings), lambda text: by_name.get(text.lower(), ()))


def one_of(*values: str) -> Option:
    """Return an option that takes one of these values, in any case."""
    return choice({value: (value,) for value in values})


def only(*names: str) -> Option:
    """Return an option that takes a single value, whatever the spelling; the usual one is first."""
    return replace(one_of(*names), takes=names[0])


def flag(true: Iterable[str] = ("true",), false: Iterable[str] = ("false",)) -> Option:
    """Return an option that takes true or false, and means these values to the driver."""
    meanings = dict.fromkeys(TRUE, true) | dict.fromkeys(FALSE, false)
    return replace(choice(meanings), takes="true or false")


def number(lowest: int = 0, highest: int = 2_147_483_647) -> Option:
    """Return an option that takes a whole number from `lowest` to `highest`."""

    def read(text: str) -> tuple[str, ...]:
        is_number = re.fullmatch(r"-?[0-9]{1,10}", text) is not None
        return (text,) if is_number and lowest <= int(text) <= highest else ()

    return Option(f"a whole number from {lowest} to {highest}", read)


def text(pattern: str, takes: str) -> Option:
    """Return an option that takes any text that matches a pattern, and passes it on as it is."""
    compiled = re.compile(pattern)
    return Option(takes, lambda text: (text,) if compiled.fullmatch(text) else ())


def setting(name: str, option: Option) -> Option:
    """Return a copy of an option that sets another option of the driver, or a field."""
    return replace(option, sets=name)


def hint(option: Option) -> Option:
    """Return a copy of an option that has no effect on the driver."""
    return setting(NO_EFFECT, option)


def at_least(modes: tuple[str, ...], mode: str) -> tuple[str, ...]:
    """Return a mode and the stronger ones of `modes`, which are in order, the strongest last."""
    return modes[modes.index(mode) :]


def listed(values: Iterable[str]) -> str:
    """Return values as a list in words: `a, b or c`."""
    *others, last = values
    return f"{', '.join(others)} or {last}" if others else last


WORDS = replace(text(r"[^\x00-\x1f\x7f]{0,255}", "at most 255 characters"), is_label=True)
NAME = text(r"[^\x00-\x1f\x7f]{1,255}", "1 to 255 characters")
# Other clients write a duration as seconds or milliseconds, some with a unit.
DURATION = text(r"-?[0-9]{1,10}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h|min)?", "a duration, such as 30")
# Options that have a meaning only for the pools and clients of other programs.
CLIENT_HINTS = (
    options_of(
        hint(DURATION),
        "pool connection_limit connectionLimit pool_size poolSize max_overflow pool_timeout "
        "pool_recycle poolTimeout pool_max_conns pool_min_conns pool_max_conn_lifetime "
        "pool_max_conn_idle_time pool_health_check_period maxPoolSize minPoolSize max_connections "
        "connectTimeout connection_timeout loginTimeout socketTimeout socket_timeout timeout "
        "readTimeout writeTimeout read_timeout write_timeout command_timeout idle_timeout "
        "acquireTimeout query_timeout statement_cache_size prepared_statement_cache_size",
    )
    | options_of(hint(flag()), "pool_pre_ping echo reconnect autoReconnect")
    | options_of(hint(WORDS), "serverVersion server_version")
)
IDENTITY = {
    "user": setting("username", NAME),
    "username": setting("username", NAME),
    "database": setting("database_name", NAME),
    "dbname": setting("database_name", NAME),
}
