"""Parse the output of `/metrics`."""


def parse_metrics(text: str) -> dict[str, float]:
    """Return the value of each series, by its name and labels as they are written."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}
