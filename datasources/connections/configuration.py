"""The settings of one source, independent of the database that stores them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rivergen.hosts import comparable_host

# The port of an SSH server, unless another one is given.
SSH_PORT = 22
# Fields that say how to connect. All others decide which source is reached.
TUNING = (
    *("ssh_local_port", "connection_pool_size", "connection_timeout", "query_timeout"),
    *("max_retries", "secrets"),
)


@dataclass(frozen=True)
class Configuration:
    """The settings of one source, as connectors take them; `repr` leaves the secrets out.

    Times are whole seconds. `host`, `port`, `database_name` and `username` have the values of the
    connection string where it has them; its options are in `options`, and the hosts after the
    first in `other_hosts`, each with its port. `host` and `ssh_host` have their one spelling
    (`canonical_host`), which the egress policy, the resolver, the driver and the check of the
    certificate are given; text that is no host is unchanged, and no resolver finds it.
    """

    type: str
    host: str | None = None
    port: int | None = None
    other_hosts: Sequence[Any] = field(default_factory=list)
    database_name: str | None = None
    schema_name: str | None = None
    file_path: str | None = None
    username: str | None = None
    url_scheme: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    use_ssh_tunnel: bool = False
    ssh_host: str | None = None
    ssh_port: int | None = None
    ssh_username: str | None = None
    ssh_local_port: int | None = None
    ssh_host_key: str | None = None
    connection_pool_size: int = 5
    connection_timeout: int = 30
    query_timeout: int = 300
    max_retries: int = 3
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("host", "ssh_host"):
            object.__setattr__(self, name, comparable_host(getattr(self, name)))

    @classmethod
    def field_names(cls) -> list[str]:
        """Return the names of all fields except the secrets."""
        return [field.name for field in dataclasses.fields(cls) if field.name != "secrets"]

    def without_secrets(self) -> dict[str, Any]:
        """Return all fields except the secrets, as JSON that the constructor takes."""
        return {name: getattr(self, name) for name in self.field_names()}

    def place(self) -> dict[str, Any]:
        """Return the fields that decide which source is reached and what is visible in it."""
        return {name: value for name, value in vars(self).items() if name not in TUNING}
