"""Imported by the fork server: children that load all this, many at once, would be late for it.

Only drivers that start no thread when they are imported: a fork would lose it.
"""

from contextlib import suppress
from importlib import import_module

from datasources.connections.sandbox.process import forget_environment

MODULES = ("datasources.connections.sandbox.attempt", "datasources.schemas.reading.child")
DRIVERS = ("clickhouse_connect", "duckdb", "oracledb", "psycopg", "pymongo", "pymssql", "pymysql")

forget_environment()  # some look into it as soon as they are imported
for driver in DRIVERS:
    with suppress(ImportError):
        import_module(driver)
for module in MODULES:
    import_module(module)
