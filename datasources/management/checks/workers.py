"""Checks of what the workers need: that one runs, its drivers and the files."""

import os

from django.conf import settings

from datasources.connections.connectors import CONNECTORS
from datasources.jobs import has_worker
from datasources.management.checks import Finding, State
from datasources.models import DataSource


def check_workers() -> Finding:
    """Check that a worker is running."""
    if not has_worker():
        fix = "Not running. Start one: python manage.py worker"
        return Finding("worker", State.FAILED, fix)
    return Finding("worker", State.OK, "Running.")


def check_drivers() -> Finding:
    """Check that the drivers of all stored data sources are installed."""
    missing = {
        name for name, connector in CONNECTORS.items() if not connector.is_driver_installed()
    }
    needed = {*DataSource.objects.filter(type__in=missing).values_list("type", flat=True)}
    if needed:
        fix = (
            f"Not installed, but in use: {', '.join(sorted(needed))}. Run for the workers: "
            "pip install -r requirements-cloud.lock"
        )
        return Finding("drivers", State.FAILED, fix)
    rest = f" except {', '.join(sorted(missing))}" if missing else ""
    return Finding("drivers", State.OK, f"All installed{rest}.")


def check_storage() -> Finding:
    """Check that the folder of files can be read."""
    if settings.STORAGE_URL:
        return check_object_store()
    root = settings.STORAGE_ROOT
    if not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
        fix = f"{root} is not a readable folder. Create it, or set STORAGE_ROOT."
        return Finding("storage", State.FAILED, fix)
    return Finding("storage", State.OK, f"Files are below {root}.")


def check_object_store() -> Finding:
    """Check that the object store is reached over TLS, at the URL that boto3 finds."""
    import boto3  # slow, and not needed for a folder

    if boto3.client("s3").meta.endpoint_url.startswith("http:"):
        fix = "Files are read from the object store without TLS. Let AWS_ENDPOINT_URL be https://…"
        return Finding("storage", State.WARNING, fix)
    text = "An object store. Connection tests of files check it."
    return Finding("storage", State.OK, text)
