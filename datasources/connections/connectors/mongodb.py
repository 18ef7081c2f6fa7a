"""MongoDB."""

from typing import Any

from datasources.connections.causes import causes, network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, one_line
from datasources.connections.failures import Code, ConnectionFailure

# The others read files, ask a cloud's metadata, or run other programs.
MECHANISMS = ("DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN")

CODES = {
    11: Code.LOGIN_FAILED,  # no such user
    13: Code.LOGIN_FAILED,  # unauthorized
    18: Code.LOGIN_FAILED,
    50: Code.DEADLINE,
    91: Code.SERVER_BUSY,  # it is shutting down
    334: Code.LOGIN_FAILED,  # not by this mechanism
    8000: Code.LOGIN_FAILED,  # Atlas
    11600: Code.SERVER_BUSY,  # it is shutting down
}


class MongoDB(ServerConnector):
    """MongoDB, by pymongo.

    The password is never sent (SCRAM), except with `authMechanism=PLAIN`, for which TLS is a must.
    With `mongodb+srv` DNS names the servers, below the domain of the host: each is connected to by
    the rules for any other host.
    """

    name = "mongodb"
    label = "MongoDB"
    driver = "pymongo"
    default_port = 27017
    url_schemes = ("mongodb", "mongodb+srv")
    url_options = (
        "appName",
        "authMechanism",
        "authSource",
        "directConnection",
        "readPreference",
        "replicaSet",
        "retryWrites",
        "tls",
        "w",
    )

    @classmethod
    def is_found_by_driver(cls, configuration: Configuration) -> bool:
        """Whether DNS names the servers; a tunnel leads to one, whatever the URL says."""
        return configuration.url_scheme == "mongodb+srv" and not configuration.use_ssh_tunnel

    def log_in(self) -> Any:
        """Give a MongoClient that has authenticated."""
        import pymongo
        from pymongo.errors import ServerSelectionTimeoutError

        configuration = self.configuration
        milliseconds = configuration.connection_timeout * 1000
        client: Any = pymongo.MongoClient(
            self._seed(),
            **self._options(),
            **self._credentials(),
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            timeoutMS=configuration.query_timeout * 1000,
        )
        try:
            with pymongo.timeout(configuration.connection_timeout):
                # Unlike `ping`, refused to those who have not logged in.
                client[configuration.database_name].command(
                    "listCollections", nameOnly=True, authorizedCollections=True
                )
        except ServerSelectionTimeoutError as error:
            raise _reason(client) or error from None
        except BaseException:
            client.close()
            raise
        return client

    def read_version(self, connection: Any) -> str:
        """Ask for what the server says of its build."""
        return one_line(f"MongoDB {connection.server_info()['version']}")

    def explain(self, error: Exception) -> Code:
        """Go by MongoDB's number, else by what the network or DNS did, else by pymongo's words."""
        from dns.exception import DNSException
        from pymongo.errors import ConfigurationError, InvalidName

        words = str(error)
        answer = getattr(error, "details", None)
        if isinstance(answer, dict) and "code" in answer:
            return CODES.get(answer["code"], Code.QUERY_FAILED)
        if found := network_cause(error):
            return found
        is_of_dns = any(isinstance(cause, DNSException) for cause in causes(error))
        if is_of_dns or "Invalid URI host" in words:
            return Code.DNS_FAILED
        # All that pymongo leaves of the system's error is its text.
        if "Connection refused" in words:
            return Code.TCP_REFUSED
        if "SSL handshake failed" in words:
            return Code.TLS_FAILED
        if getattr(error, "timeout", False):
            return Code.DEADLINE
        if isinstance(error, InvalidName):
            return Code.DATABASE_MISSING
        is_of_option = isinstance(error, ConfigurationError | ValueError)
        if is_of_option and "wire version" not in words:  # which a server has that is too old
            return Code.OPTION_INVALID
        return Code.PROTOCOL_FAILED

    def _seed(self) -> str:
        """Give one host: neither a list, nor a path of a socket, nor a URL of somebody's."""
        host, port = self.endpoint.host, self.endpoint.port
        if any(letter in host for letter in "/,@?%[]"):
            raise ConnectionFailure(Code.DNS_FAILED)
        if self.is_found_by_driver(self.configuration):
            return f"mongodb+srv://{host}/"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _options(self) -> dict[str, Any]:
        configuration = self.configuration
        options: dict[str, Any] = {
            name: configuration.options[name]
            for name in self.url_options
            if name in configuration.options
        }
        options.setdefault("appName", "rivergen")
        if configuration.url_scheme == "mongodb+srv":
            options.setdefault("tls", "true")
        if configuration.use_ssh_tunnel:
            # The other members of a replica set are not at the end of the tunnel.
            options["directConnection"] = "true"
            options.pop("replicaSet", None)
        mechanism = options.get("authMechanism", "DEFAULT")
        if mechanism not in MECHANISMS:
            raise ConnectionFailure(Code.OPTION_INVALID)
        if mechanism == "PLAIN" and options.get("tls") != "true":
            raise ConnectionFailure(Code.TLS_FAILED)
        return options

    def _credentials(self) -> dict[str, Any]:
        """Name the user; as MongoDB does, look for them in the database that a URL names.

        Else they are in `admin`, where users are made by default.
        """
        configuration = self.configuration
        if not configuration.username and "authMechanism" not in configuration.options:
            return {}
        if not (configuration.username and self.secret):
            raise ConnectionFailure(Code.CREDENTIALS_UNSET)
        credentials: dict[str, Any] = {"username": configuration.username, "password": self.secret}
        if "authSource" not in configuration.options and configuration.url_scheme == "mongodb":
            credentials["authSource"] = configuration.database_name
        return credentials


def _reason(client: Any) -> Exception | None:
    """Close a client; give the error that its servers were not reached for."""
    servers = client.topology_description.server_descriptions().values()
    client.close()
    return next((server.error for server in servers if server.error), None)
