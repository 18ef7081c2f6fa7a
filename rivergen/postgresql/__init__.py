"""Django's backend for PostgreSQL, extended for outages, replicas and row-level security."""
