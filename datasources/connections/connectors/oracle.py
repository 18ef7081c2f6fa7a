"""Oracle Database."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from datasources.connections.causes import causes, network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, fetch_value, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    IDENTITY,
    Options,
    flag,
    hint,
    number,
    one_of,
    options_of,
    text,
)

# Names are sent in a connect descriptor: allow no character that has a meaning there.
SERVICE_NAME = re.compile(r"[\w.$#-]{1,255}")

SIMILAR = re.compile(r"\(Similar to (ORA-\d+)\)")

CODES = {
    "DPY-6001": Code.DATABASE_MISSING,  # service unknown to the listener
    "DPY-6003": Code.DATABASE_MISSING,  # SID unknown to the listener
    "ORA-12505": Code.DATABASE_MISSING,
    "ORA-12514": Code.DATABASE_MISSING,
    "DPY-4024": Code.DEADLINE,
    "ORA-00018": Code.SERVER_BUSY,  # too many sessions
    "ORA-00020": Code.SERVER_BUSY,  # too many processes
    "ORA-01033": Code.SERVER_BUSY,  # starting or shutting down
    "ORA-01034": Code.SERVER_BUSY,
    "ORA-01089": Code.SERVER_BUSY,
    "ORA-01090": Code.SERVER_BUSY,
    "ORA-12516": Code.SERVER_BUSY,  # the listener has no free handler
    "ORA-12518": Code.SERVER_BUSY,
    "ORA-12519": Code.SERVER_BUSY,
    "ORA-12520": Code.SERVER_BUSY,
    "ORA-12528": Code.SERVER_BUSY,
    "DPY-4001": Code.LOGIN_FAILED,  # username or password missing
}


class Oracle(ServerConnector):
    """Oracle Database, by oracledb in thin mode.

    The password is never sent: it encrypts the session key that server and driver agree on. There
    is no TLS.
    """

    name = "oracle"
    label = "Oracle Database"
    driver = "oracledb"
    dialect = "oracle+oracledb"
    default_port = 1521
    required_credentials = ("username", "password")
    url_schemes: ClassVar[Mapping[str, str]] = {"oracle": "oracle"}
    url_drivers = ("oracledb", "oracledb_async", "cx_oracle")
    url_options = Options(
        CLIENT_HINTS
        | IDENTITY
        | options_of(
            text(SERVICE_NAME.pattern, "letters, digits and . _ $ # -"), "service_name sid"
        )
        # Of cx_Oracle, the driver before this one.
        | options_of(hint(one_of("UTF-8", "utf8")), "encoding nencoding")
        | options_of(hint(flag()), "threaded events")
        | {"arraysize": hint(number())}
    )

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields; a service, in the path or in an option, is the database."""
        options = url["options"]
        service = options.get("service_name") or options.get("sid")
        return url | {"database_name": url["database_name"] or service}

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return that there is no TLS."""
        return TLS.OFF

    @classmethod
    def further_ports(cls, configuration: Configuration) -> None:
        """Return None: a listener may name another port, such as that of a dispatcher."""
        return None

    def log_in(self) -> Any:
        """Return a connection of oracledb."""
        import oracledb

        configuration, endpoint = self.configuration, self.endpoint
        # Never `dsn`: it may be a descriptor, an alias in tnsnames.ora, a file or another host.
        connection = oracledb.connect(
            params=oracledb.ConnectParams(
                host=endpoint.host,
                port=endpoint.port,
                **self._service(),
                tcp_connect_timeout=configuration.connection_timeout,
                retry_count=0,
                disable_oob=True,
                # Replace the defaults, which would tell the server about this machine.
                program="rivergen",
                machine="rivergen",
                osuser="rivergen",
                terminal="rivergen",
            ),
            user=configuration.username,
            password=self.secret,
        )
        connection.call_timeout = configuration.query_timeout * 1000
        return connection

    def read_version(self, connection: Any) -> str:
        """Run a query. Return the version that the server sent at the login."""
        fetch_value(connection, "SELECT 1 FROM dual")
        return one_line(f"Oracle Database {connection.version}")

    def explain(self, error: Exception) -> Code:
        """Return the failure code for the Oracle error number in an exception or its causes."""
        found = [*causes(error)]
        numbers = [getattr(cause.args[0], "full_code", "") for cause in found if cause.args]
        numbers += [number for cause in found for number in SIMILAR.findall(str(cause))]
        code = next((CODES[number] for number in numbers if number in CODES), None)
        if code is None and any(number.startswith("ORA-") for number in numbers):
            return Code.LOGIN_FAILED
        return code or network_cause(error) or Code.PROTOCOL_FAILED

    def _service(self) -> dict[str, str]:
        options = self.configuration.options
        if sid := options.get("sid"):
            service = {"sid": sid}
        else:
            service = {
                "service_name": options.get("service_name")
                or self.configuration.database_name
                or ""
            }
        if not all(map(SERVICE_NAME.fullmatch, service.values())):
            raise ConnectionFailure(Code.DATABASE_MISSING)
        return service
