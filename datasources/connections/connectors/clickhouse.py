"""ClickHouse."""

import logging
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from datasources.connections.causes import causes, network_cause
from datasources.connections.configuration import Configuration
from datasources.connections.connectors.base import ServerConnector, one_line
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.protection import TLS
from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    DURATION,
    FALSE,
    IDENTITY,
    TRUE,
    Options,
    choice,
    flag,
    hint,
    listed,
    one_of,
    only,
    setting,
)

CODES = {
    **dict.fromkeys((81, 291), Code.DATABASE_MISSING),
    **dict.fromkeys((159, 209), Code.DEADLINE),
    # 516 stands for the others; newer servers do not say which.
    **dict.fromkeys((192, 193, 194, 516), Code.LOGIN_FAILED),
    195: Code.ADDRESS_REFUSED,
    **dict.fromkeys((201, 202, 241, 439, 745), Code.SERVER_BUSY),  # quotas, memory, threads
    497: Code.DATABASE_FORBIDDEN,
    **dict.fromkeys((115, 164), Code.OPTION_INVALID),  # a setting that is unknown or forbidden
}
STATEMENT_CODES = CODES | {
    **dict.fromkeys((159, 209, 394), Code.QUERY_TIMEOUT),
    **dict.fromkeys((210, 236, 279), Code.CONNECTION_LOST),
    497: Code.PERMISSION_DENIED,
}
STATUS = re.compile(r"\bHTTP status (\d+)")
STATUSES = {
    "401": Code.LOGIN_FAILED,
    "403": Code.LOGIN_FAILED,
    "429": Code.SERVER_BUSY,
    "503": Code.SERVER_BUSY,
}
HTTPS_PORT = 8443
SETTINGS: dict[str, Any] = {
    "limit": 0,
    "offset": 0,
    "read_overflow_mode": "throw",
    "result_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
}
"""The settings with which a user's profile would cut off results without an error."""
FLAGS = {"true": True, "1": True, "false": False, "0": False}
COMPRESSIONS = ("lz4", "zstd", "br", "gzip", "deflate")
OPTIONS = Options(
    CLIENT_HINTS
    | IDENTITY
    | {
        "secure": flag(),
        "ssl": setting("secure", flag()),
        "protocol": setting("secure", choice({"http": ("false",), "https": ("true",)})),
        "interface": setting("secure", choice({"http": ("false",), "https": ("true",)})),
        "compress": replace(
            choice(
                dict.fromkeys(TRUE, ("true",))
                | dict.fromkeys(FALSE, ("false",))
                | {name: (name,) for name in COMPRESSIONS}
            ),
            takes=listed(("true", "false", *COMPRESSIONS)),
        ),
        "compression": setting("compress", one_of(*COMPRESSIONS)),
        # HTTPS always verifies the server.
        "verify": hint(only(*TRUE)),
        "send_receive_timeout": hint(DURATION),
        "dial_timeout": hint(DURATION),
        "max_execution_time": hint(DURATION),
    }
)


class ClickHouse(ServerConnector):
    """ClickHouse, over its HTTP interface.

    Each request has the password, in clear unless `clickhouses://` or `secure=true` is given.
    """

    name = "clickhouse"
    label = "ClickHouse"
    driver = "clickhouse_connect"
    dialect = "clickhousedb+connect"
    default_port = 8123
    url_schemes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("clickhouse", "clickhousedb", "http", "clickhouse+http"), "clickhouse"),
        **dict.fromkeys(("clickhouses", "https", "clickhouse+https"), "clickhouses"),
    }
    url_drivers = ("connect",)
    url_options = OPTIONS
    sends_password = True
    statement_codes = STATEMENT_CODES

    @classmethod
    def read_url(cls, url: dict[str, Any]) -> dict[str, Any]:
        """Return the fields; raises ValidationError (400) if an option denies what HTTPS says."""
        if url["url_scheme"] == "clickhouses" and url["options"].get("secure") == "false":
            raise ValidationError("The scheme asks for TLS, an option denies it.")
        return url

    @classmethod
    def tls(cls, configuration: Configuration) -> TLS:
        """Return whether HTTPS is used, which always verifies the server."""
        return TLS.VERIFIED if _is_secure(configuration) else TLS.OFF

    @classmethod
    def usual_port(cls, configuration: Configuration) -> int | None:
        """Return the port of HTTPS or HTTP, whichever is configured."""
        return HTTPS_PORT if _is_secure(configuration) else cls.default_port

    def log_in(self) -> Any:
        """Return a DB-API connection of clickhouse-connect; its `client` is the native one."""
        from clickhouse_connect.dbapi.connection import Connection
        from clickhouse_connect.driver.exceptions import ProgrammingError
        from urllib3 import Timeout

        configuration, endpoint = self.configuration, self.endpoint
        seconds, query_seconds = configuration.connection_timeout, configuration.query_timeout
        if configuration.options.get("secure", "false").lower() not in FLAGS:
            raise ConnectionFailure(Code.OPTION_INVALID)
        # The driver logs errors that it also raises.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
        pool = _pool()
        try:
            connection = Connection(
                interface="https" if _is_secure(configuration) else "http",
                host=endpoint.host,
                port=endpoint.port,
                username=configuration.username or "default",
                password=self.secret or "",
                database=configuration.database_name,
                pool_mgr=pool,
                # Sessions fail behind a load balancer.
                autogenerate_session_id=False,
                compress=self._compression(),
                connect_timeout=seconds,
                send_receive_timeout=seconds,
                query_retries=0,
            )
        except Exception:
            pool.clear()
            raise
        client: Any = connection.client
        client.timeout = Timeout(connect=seconds, read=query_seconds)
        for name, value in (SETTINGS | {"max_execution_time": query_seconds}).items():
            # Users with readonly=1 cannot change settings; the read timeout above still applies.
            with suppress(ProgrammingError):
                client.set_client_setting(name, value)
        return connection

    def read_version(self, connection: Any) -> str:
        """Query `version()`."""
        return one_line(f"ClickHouse {connection.command('SELECT version()')}")

    def explain(self, error: Exception) -> Code:
        """Return the code for ClickHouse's error number, the HTTP status or the network error."""
        from clickhouse_connect.driver.exceptions import ProgrammingError

        if code := self.code_by_number(error, CODES):
            return code
        if any(number for cause in causes(error) for number in self.numbers_of(cause)):
            return Code.QUERY_FAILED
        if status := STATUS.search(str(error)):
            return STATUSES.get(status[1], Code.PROTOCOL_FAILED)
        if isinstance(error, ProgrammingError):  # unknown `compress`
            return Code.OPTION_INVALID
        return network_cause(error) or Code.PROTOCOL_FAILED

    def numbers_of(self, error: BaseException) -> Iterator[int]:
        """Yield the number of the server, as in the header `X-ClickHouse-Exception-Code`."""
        from clickhouse_connect.driver.exceptions import Error

        if isinstance(error, Error) and error.code is not None:
            yield error.code

    def _compression(self) -> bool | str:
        compression = self.configuration.options.get("compress", "true").lower()
        return FLAGS.get(compression, compression)


def _is_secure(configuration: Configuration) -> bool:
    is_option_set = FLAGS.get(configuration.options.get("secure", "").lower(), False)
    return configuration.url_scheme == "clickhouses" or is_option_set


def _pool() -> Any:
    """Return a connection pool that follows no redirect, retries nothing and uses no proxy."""
    from urllib3 import PoolManager, Retry

    class Pool(PoolManager):
        def urlopen(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
            options |= {"redirect": False, "retries": Retry(0, redirect=False)}
            return super().urlopen(method, url, *arguments, **options)

    return Pool(ssl_context=ssl.create_default_context())
