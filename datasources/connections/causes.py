"""What of the network is behind a driver's error."""

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException

from datasources.connections.failures import Code, ConnectionFailure


def network_cause(error: BaseException) -> Code | None:
    """Say what of the network made a driver raise `error`; None: it was something else.

    Drivers written in Python wrap such errors, each in its own way: as cause, context, argument or
    `reason` (urllib3).
    """
    found = [*causes(error)]
    for cause in found:
        if isinstance(cause, ConnectionFailure):
            return cause.code
    for cause in found:
        if isinstance(cause, ssl.SSLError):
            return Code.TLS_FAILED
        if isinstance(cause, socket.gaierror):
            return Code.DNS_FAILED
        if isinstance(cause, ConnectionRefusedError):
            return Code.TCP_REFUSED
        if isinstance(cause, PermissionError):
            return Code.EGRESS_DENIED
        if isinstance(cause, TimeoutError):
            return Code.DEADLINE
        if isinstance(cause, ConnectionError | HTTPException):
            return Code.PROTOCOL_FAILED
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error, and all that are wrapped in it, each once."""
    waiting, seen = [error], {id(error)}
    while waiting:
        cause = waiting.pop(0)
        yield cause
        wrapped = (
            cause.__cause__,
            cause.__context__,
            getattr(cause, "reason", None),
            *cause.args,
        )
        for one in wrapped:
            if isinstance(one, BaseException) and id(one) not in seen:
                seen.add(id(one))
                waiting.append(one)
