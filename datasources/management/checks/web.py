"""Checks of what the web leaves open."""

from urllib.parse import urlsplit

from django.conf import settings
from rest_framework.settings import api_settings

from datasources.connections.endpoint import is_loopback
from datasources.management.checks import Finding, State


def check_proxy() -> Finding:
    """Check that the address of a client can be told from that of a proxy."""
    if api_settings.NUM_PROXIES:
        text = f"Proxies that add the address of their client: {api_settings.NUM_PROXIES}."
        return Finding("proxy", State.OK, text)
    addresses = {
        "BIND_ADDRESS": [settings.BIND_ADDRESS],
        "FORWARDED_ALLOW_IPS": settings.FORWARDED_ALLOW_IPS,
        "ALLOWED_HOSTS": settings.ALLOWED_HOSTS,
    }
    others = ", ".join(
        f"{name}={','.join(values)}"
        for name, values in addresses.items()
        if not all(is_loopback(value.strip("[]")) for value in values)
    )
    if not others:
        return Finding("proxy", State.OK, "None is named, and none is needed on this machine.")
    fix = (
        f"NUM_PROXIES is 0, but other machines can reach the web ({others}). Behind a proxy, or a "
        "published port of a container, all clients have one address, and some wrong passwords of "
        "one lock out all. Set NUM_PROXIES to the number of proxies that add to X-Forwarded-For."
    )
    return Finding("proxy", State.WARNING, fix)


def check_web() -> Finding:
    """Check that the web shows nothing to everyone that is meant for its operator."""
    faults = []
    if settings.DEBUG:
        faults.append("DEBUG is on: error pages show code and settings. Unset it.")
    if "*" in settings.ALLOWED_HOSTS:
        faults.append("ALLOWED_HOSTS=* takes any Host header. Name the hosts that clients use.")
    is_open = any(network.prefixlen == 0 for network in settings.METRICS_ALLOW)
    if is_open and not settings.METRICS_TOKEN:
        faults.append("METRICS_ALLOW lets everyone read /metrics. Set METRICS_TOKEN.")
    exposed = [origin for origin in settings.CORS_ALLOWED_ORIGINS if is_exposed(origin)]
    if exposed:
        faults.append(
            f"CORS_ALLOWED_ORIGINS has {', '.join(exposed)}: a page sent without TLS can be "
            "changed on its way, and give away tokens. Serve it over HTTPS."
        )
    if faults:
        return Finding("web", State.WARNING, " ".join(faults))
    return Finding(
        "web", State.OK, "No debug pages; hosts and pages are named; /metrics is not open."
    )


def is_exposed(origin: str) -> bool:
    """Return whether pages of an origin come from another machine without TLS."""
    url = urlsplit(origin)
    return url.scheme == "http" and not is_loopback(url.hostname or "")
