"""Updating many data sources in one request."""
