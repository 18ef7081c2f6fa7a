"""The network error behind a driver's error."""

import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException

from datasources.connections.failures import Code, ConnectionFailure


def network_cause(error: BaseException) -> Code | None:
    """Return the code of the network error behind a driver's `error`; None if there is none."""
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
    """Yield an error and every error that is wrapped in it, each once.

    Drivers written in Python wrap network errors in different ways: as cause, as context, as an
    argument or as `reason` (urllib3).
    """
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
        for inner in wrapped:
            if isinstance(inner, BaseException) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
