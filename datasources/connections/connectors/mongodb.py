"""MongoDB."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from datasources.connections.causes import causes, network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, missing_among, one_line
from datasources.connections.endpoint import host_and_port
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS
from datasources.connections.url_options.mongodb import MECHANISMS, MONGODB

NO_DATABASE_NAME = re.compile(r'[/\\. "$]')

UNAUTHORIZED = 13
CODES = {
    11: Code.LOGIN_FAILED,  # unknown user
    UNAUTHORIZED: Code.DATABASE_FORBIDDEN,
    18: Code.LOGIN_FAILED,
    50: Code.DEADLINE,
    73: Code.DATABASE_MISSING,  # invalid name
    91: Code.SERVER_BUSY,  # shutting down
    189: Code.SERVER_BUSY,  # no longer the primary
    262: Code.DEADLINE,
    334: Code.LOGIN_FAILED,  # mechanism not enabled
    8000: Code.LOGIN_FAILED,  # Atlas
    10107: Code.SERVER_BUSY,  # not the primary
    11600: Code.SERVER_BUSY,  # shutting down
    13436: Code.SERVER_BUSY,  # neither primary nor secondary: starting
}
TIMED_OUT, LOST = "timed out", "lost"  # in place of numbers: errors that pymongo finds
STATEMENT_CODES: dict[object, Code] = {
    UNAUTHORIZED: Code.PERMISSION_DENIED,
    **dict.fromkeys((24, 50, 262, TIMED_OUT), Code.QUERY_TIMEOUT),
    **dict.fromkeys((6, 7, 89, 91, 189, 9001, 10107), Code.CONNECTION_LOST),
    **dict.fromkeys((11600, 11601, 11602, 13436, LOST), Code.CONNECTION_LOST),
}


class MongoDB(ServerConnector):
    """MongoDB, by pymongo.

    The password is never sent (SCRAM), except with `authMechanism=PLAIN`, which requires TLS. With
    `mongodb+srv`, DNS names the servers, within the domain of the host. The egress policy checks
    each of them.
    """

    name = "mongodb"
    label = "MongoDB"
    driver = "pymongo"
    default_port = 27017
    statement_codes = STATEMENT_CODES
    url_schemes: ClassVar[Mapping[str, str]] = {
        "mongodb": "mongodb",
        "mongodb+srv": "mongodb+srv",
    }
    url_options = MONGODB
    takes_several_hosts = True

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields; the database of a `mongodb://` URL also has the user by default.

        Raises ValidationError (400) for what pymongo refuses.
        """
        options, database = url["options"], url["database_name"]
        if database and NO_DATABASE_NAME.search(database):
            raise ValidationError('A database name has no / \\ . " $ and no spaces in MongoDB.')
        if url["url_scheme"] == "mongodb+srv" and (url["port"] or url["other_hosts"]):
            raise ValidationError("After mongodb+srv:// comes one host, without port.")
        if url["other_hosts"]:
            if "true" in (options.get("directConnection"), options.get("loadBalanced")):
                raise ValidationError(
                    "With directConnection or loadBalanced, write one host, not several."
                )
            url["port"] = url["port"] or cls.default_port
            url["other_hosts"] = [
                [host, port or cls.default_port] for host, port in url["other_hosts"]
            ]
        if database and url["url_scheme"] == "mongodb":
            options.setdefault("authSource", database)
        return url

    @classmethod
    def is_resolved_by_driver(cls, configuration: Configuration) -> bool:
        """Return whether DNS names the servers; never with a tunnel, which leads to one server."""
        return configuration.url_scheme == "mongodb+srv" and not configuration.use_ssh_tunnel

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return whether TLS is on: pymongo then always verifies the server."""
        return TLS.VERIFIED if _uses_tls(configuration) else TLS.OFF

    @classmethod
    def further_ports(cls, configuration: Configuration) -> tuple[int, ...] | None:
        """Return None unless connected directly: a server names the other members of its set."""
        is_direct = configuration.options.get("directConnection") == "true"
        return () if configuration.use_ssh_tunnel or is_direct else None

    @classmethod
    def missing_credentials(cls, configuration: Configuration) -> list[str]:
        """Return what a login lacks; without username and mechanism there is none."""
        if not configuration.username and "authMechanism" not in configuration.options:
            return []
        return missing_among(("username", "password"), configuration)

    def log_in(self) -> Any:
        """Return a MongoClient that has authenticated."""
        import pymongo
        from pymongo.errors import ServerSelectionTimeoutError

        configuration = self.configuration
        milliseconds = configuration.connection_timeout * 1000
        client: Any = pymongo.MongoClient(
            self._seeds(),
            **self._options(),
            **self._credentials(),
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            timeoutMS=configuration.query_timeout * 1000,
        )
        try:
            with pymongo.timeout(configuration.connection_timeout):
                # Unlike `ping`, `listCollections` needs authentication.
                client[configuration.database_name].command(
                    "listCollections", nameOnly=True, authorizedCollections=True
                )
        except ServerSelectionTimeoutError as error:
            raise _close_and_get_error(client) or error from None
        except BaseException:
            client.close()
            raise
        return client

    def read_version(self, connection: Any) -> str:
        """Query the build information of the server."""
        return one_line(f"MongoDB {connection.server_info()['version']}")

    def explain(self, error: Exception) -> Code:
        """Return the code for MongoDB's error number, the network error or pymongo's message."""
        from dns.exception import DNSException
        from pymongo.errors import ConfigurationError, InvalidName

        message = str(error)
        number = number_of(error)
        if number == UNAUTHORIZED and not self.configuration.username:
            return Code.LOGIN_FAILED  # the server asks for a login
        if number is not None:
            return CODES.get(number, Code.QUERY_FAILED)
        if found := network_cause(error):
            return found
        is_dns_error = any(isinstance(cause, DNSException) for cause in causes(error))
        if is_dns_error or "Invalid URI host" in message:
            return Code.DNS_FAILED
        # pymongo keeps only the text of the system's error.
        if "Connection refused" in message:
            return Code.TCP_REFUSED
        if "SSL handshake failed" in message:
            return Code.TLS_FAILED
        if getattr(error, "timeout", False):
            return Code.DEADLINE
        if isinstance(error, InvalidName):
            return Code.DATABASE_MISSING
        is_option_error = isinstance(error, ConfigurationError | ValueError)
        if is_option_error and "wire version" not in message:  # the server is too old
            return Code.OPTION_INVALID
        return Code.PROTOCOL_FAILED

    def numbers_of(self, error: BaseException) -> Iterator[object]:
        """Yield the number of the server, or what pymongo has found in place of an answer."""
        from pymongo.errors import AutoReconnect

        if (number := number_of(error)) is not None:
            yield number
        elif getattr(error, "timeout", False):
            yield TIMED_OUT
        elif isinstance(error, AutoReconnect):
            yield LOST

    def _seeds(self) -> str | list[str]:
        """Return the addresses of servers. Refuses lists, paths of sockets and URLs as host."""
        endpoint, configuration = self.endpoint, self.configuration
        seeds = {(endpoint.host, endpoint.port): None}
        if configuration.other_hosts:  # never with a tunnel
            seeds[configuration.host or "", configuration.port or self.default_port] = None
            seeds |= dict.fromkeys((host, port) for host, port in configuration.other_hosts)
        if any(letter in host for host, _ in seeds for letter in "/,@?%[]"):
            raise ConnectionFailure(Code.DNS_FAILED)
        if self.is_resolved_by_driver(configuration):
            return f"mongodb+srv://{endpoint.host}/"
        return [host_and_port(host, port) for host, port in seeds]

    def _options(self) -> dict[str, Any]:
        configuration = self.configuration
        options: dict[str, Any] = {
            name: configuration.options[name]
            for name in self.url_options.with_effect()
            if name in configuration.options
        }
        options.setdefault("appName", "rivergen")
        if _uses_tls(configuration):
            options["tls"] = "true"
        if configuration.use_ssh_tunnel:
            # The tunnel does not reach the other members of a replica set.
            options["directConnection"] = "true"
            options.pop("replicaSet", None)
        mechanism = options.get("authMechanism", "DEFAULT")
        if mechanism not in MECHANISMS:
            raise ConnectionFailure(Code.OPTION_INVALID)
        if mechanism == "PLAIN" and not _uses_tls(configuration):
            raise ConnectionFailure(Code.TLS_FAILED)
        return options

    def _credentials(self) -> dict[str, Any]:
        """Return username and password, if there is anything to log in with."""
        configuration = self.configuration
        if not configuration.username:
            return {}
        return {"username": configuration.username, "password": self.secret}


def number_of(error: BaseException) -> int | None:
    """Return the number that the server gave an error; None for an error of pymongo."""
    answer = getattr(error, "details", None)
    return answer.get("code") if isinstance(answer, dict) else None


def _uses_tls(configuration: Configuration) -> bool:
    default = "true" if configuration.url_scheme == "mongodb+srv" else "false"
    return configuration.options.get("tls", default) == "true"


def _close_and_get_error(client: Any) -> Exception | None:
    """Close a client. Return the error for which its servers were not reached, if any."""
    servers = client.topology_description.server_descriptions().values()
    client.close()
    return next((server.error for server in servers if server.error), None)
