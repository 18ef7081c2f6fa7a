"""Check of what the kernel restricts drivers to."""

from datasources.connections.sandbox.lockdown import missing_restrictions
from datasources.management.checks import Finding, State


def check_sandbox() -> Finding:
    """Check that the kernel restricts the processes that run drivers."""
    if missing := missing_restrictions():
        fix = f"A faulty driver is not restricted as to {', '.join(missing)}. See SECURITY.md."
        return Finding("sandbox", State.WARNING, fix)
    text = "System calls, files, TCP ports and signals are restricted."
    return Finding("sandbox", State.OK, text)
