"""Checks of how well the connections to data sources are protected."""

from collections import defaultdict

from datasources.connections.connectors import CONNECTORS
from datasources.connections.protection import WarningCode
from datasources.management.checks import Finding, State
from datasources.models import DataSource

IDS_SHOWN = 10
TITLES = {
    WarningCode.PASSWORD_IN_CLEAR: "may send their password in clear",
    WarningCode.NOT_ENCRYPTED: "may have no encryption",
    WarningCode.SERVER_NOT_VERIFIED: "do not verify the server",
}


def check_protection() -> Finding:
    """Check what the settings of the stored data sources guarantee; connects to none."""
    found: dict[WarningCode, list[int]] = defaultdict(list)
    servers = [name for name, connector in CONNECTORS.items() if connector.has_endpoint]
    data_sources = DataSource.objects.filter(type__in=servers).order_by("pk")
    for data_source in data_sources.prefetch_related("credentials").iterator(chunk_size=1_000):
        # Which secrets are set counts, not what they are.
        secrets = {credential.field: "set" for credential in data_source.credentials.all()}
        for warning in data_source.connector.warnings_of(data_source.configuration(secrets)):
            found[warning].append(data_source.pk)
    if not found:
        text = "Data sources are encrypted, and verify their servers."
        return Finding("protection", State.OK, text)
    counts = [f"{title}: {describe(found[code])}" for code, title in TITLES.items() if found[code]]
    fix = (
        f"Data sources that {'; that '.join(counts)}. Add the TLS options of their type to their "
        "connection_string; test_data_sources says which lack them at the moment."
    )
    return Finding("protection", State.WARNING, fix)


def describe(ids: list[int]) -> str:
    """Return how many ids there are, and the first of them."""
    rest = ", …" if len(ids) > IDS_SHOWN else ""
    return f"{len(ids)} (id {', '.join(map(str, ids[:IDS_SHOWN]))}{rest})"
