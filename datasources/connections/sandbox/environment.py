"""The environment variables that drivers may read."""

import os
import re

# All that a child process keeps: no PG*, no HTTP_PROXY, no keys, no home folder.
KEPT_VARIABLES = ("LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ")

READ_BY_DRIVERS = re.compile(
    r".*_proxy|tds(host|port)|(bigquery|cloudsdk|databricks|google|sf|snowflake)_.*", re.IGNORECASE
)
# Without these variables, drivers fall back to behaviour that must stay off.
OVERRIDES = {
    "NETRC": os.devnull,
    "NO_PROXY": "*",
    "no_proxy": "*",
    "SNOWFLAKE_DISABLE_MINICORE": "true",
    "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
}


def harmless_variables() -> dict[str, str]:
    """Return the variables of this process that a child may have."""
    return {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}


def remove_driver_variables() -> None:
    """Remove the variables by which drivers find proxies, credentials and other hosts.

    For drivers that have no argument to switch that off. Lasts until the process ends.
    """
    for name in [*os.environ]:
        if READ_BY_DRIVERS.fullmatch(name):
            del os.environ[name]
    os.environ.update(OVERRIDES)
