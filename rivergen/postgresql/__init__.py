"""Django's backend for PostgreSQL, which knows how to live with one that is out of reach."""
