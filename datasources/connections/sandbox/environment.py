"""What drivers would read of this process's environment: proxies, credentials, other hosts."""

import os
import re

READ_BY_DRIVERS = re.compile(
    r".*_proxy|tds(host|port)|(bigquery|cloudsdk|databricks|google|sf|snowflake)_.*", re.IGNORECASE
)

# What is true without the variable, and must not be.
INSTEAD = {
    "NETRC": os.devnull,
    "NO_PROXY": "*",
    "no_proxy": "*",
    "SNOWFLAKE_DISABLE_MINICORE": "true",
    "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
}


def ignore_environment() -> None:
    """Keep drivers from being led elsewhere, or to other credentials, by this process's variables.

    For those that have no argument to switch that off. Lasts as long as the process.
    """
    for variable in list(os.environ):
        if READ_BY_DRIVERS.fullmatch(variable):
            del os.environ[variable]
    os.environ.update(INSTEAD)
