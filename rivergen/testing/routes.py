"""List the routes of the API and the HTML pages, from the URL configuration."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLResolver, get_resolver

from rivergen.observability.metrics import path_template

METHODS = {"get", "post", "put", "patch", "delete"}


def routes(
    resolver: URLResolver | None = None, prefix: str = "/"
) -> Iterator[tuple[str, set[str]]]:
    """Yield each API path below a resolver, as OpenAPI writes it, and the methods it accepts."""
    for entry in (resolver or get_resolver()).url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, path)
        elif path.startswith("/api/v1/"):
            view: Any = entry.callback
            handlers = getattr(view, "actions", None) or dir(view.cls)
            methods = METHODS & {*handlers} & {*view.cls.http_method_names}
            yield path_template(path), methods


def pages(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Yield each path outside of the API, with its parameters as `{name}`."""
    for entry in (resolver or get_resolver()).url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from pages(entry, path)
        elif not path.startswith("/api/v1/"):
            yield path_template(path)
