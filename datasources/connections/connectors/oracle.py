"""Oracle Database."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

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

# A trigger at the login may have chosen another order, in which some names are equal.
SESSION = "ALTER SESSION SET NLS_COMP = BINARY NLS_SORT = BINARY"

SIMILAR = re.compile(r"\(Similar to (ORA-\d+)\)")

CODES = {
    "DPY-3015": Code.LOGIN_FAILED,  # the server has only an old hash of the password
    "DPY-6001": Code.DATABASE_MISSING,  # service unknown to the listener
    "DPY-6003": Code.DATABASE_MISSING,  # SID unknown to the listener
    "ORA-12505": Code.DATABASE_MISSING,
    "ORA-12514": Code.DATABASE_MISSING,
    "ORA-12521": Code.DATABASE_MISSING,
    "ORA-01045": Code.DATABASE_FORBIDDEN,  # lacks CREATE SESSION
    "ORA-01005": Code.LOGIN_FAILED,  # no password
    "ORA-01017": Code.LOGIN_FAILED,
    "ORA-28040": Code.LOGIN_FAILED,  # no authentication in common
    "ORA-28000": Code.ACCOUNT_LOCKED,
    "ORA-28001": Code.ACCOUNT_LOCKED,  # password expired
    "ORA-65162": Code.ACCOUNT_LOCKED,  # password expired
    "ORA-12506": Code.ADDRESS_REFUSED,
    "ORA-01035": Code.DATABASE_CLOSED,  # restricted sessions only
    "ORA-01109": Code.DATABASE_CLOSED,  # not open
    "ORA-12526": Code.DATABASE_CLOSED,  # restricted sessions only
    "ORA-12527": Code.DATABASE_CLOSED,
    "ORA-12529": Code.DATABASE_CLOSED,
    "ORA-02391": Code.SERVER_BUSY,  # too many sessions of the user
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
}

STATEMENT_CODES = {
    **dict.fromkeys(("ORA-00942", "ORA-01031", "ORA-01039"), Code.PERMISSION_DENIED),
    **dict.fromkeys(("DPY-4024", "ORA-01013", "ORA-03136"), Code.QUERY_TIMEOUT),
    **dict.fromkeys(("DPY-1001", "DPY-4011", "ORA-00028", "ORA-01012"), Code.CONNECTION_LOST),
    **dict.fromkeys(("ORA-01089", "ORA-01092", "ORA-02396", "ORA-02399"), Code.CONNECTION_LOST),
    **dict.fromkeys(("ORA-03113", "ORA-03114", "ORA-03135"), Code.CONNECTION_LOST),
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
    statement_codes = STATEMENT_CODES
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
        """Return the fields; a service, in the path or in an option, is the database.

        Raises ValidationError (400) if it names two.
        """
        options = url["options"]
        services = [url["database_name"], options.get("service_name"), options.get("sid")]
        named = {service.lower() for service in services if service}
        if len(named) > 1:
            raise ValidationError("Names two services. Write one, as the path or as an option.")
        return url | {"database_name": next(filter(None, services), None)}

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
        with connection.cursor() as cursor:
            cursor.execute(SESSION)
        return connection

    def read_version(self, connection: Any) -> str:
        """Run a query. Return the version that the server sent at the login."""
        fetch_value(connection, "SELECT 1 FROM dual")
        return one_line(f"Oracle Database {connection.version}")

    def explain(self, error: Exception) -> Code:
        """Return the failure code for the Oracle error number in an exception or its causes."""
        if code := self.code_by_number(error, CODES) or network_cause(error):
            return code
        numbers = (number for cause in causes(error) for number in self.numbers_of(cause))
        is_of_server = any(number.startswith("ORA-") for number in numbers)
        return Code.QUERY_FAILED if is_of_server else Code.PROTOCOL_FAILED

    def numbers_of(self, error: BaseException) -> Iterator[str]:
        """Yield the number of an error, and the one of the server that it stands for."""
        if error.args and (number := getattr(error.args[0], "full_code", "")):
            yield number
            yield from SIMILAR.findall(str(error))

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
