"""Imported once by the fork server, so that each child starts with the code already loaded.

Only drivers that start no thread on import are listed: a fork does not copy threads.
"""

from contextlib import suppress
from importlib import import_module

from datasources.connections.sandbox.environment import keep_harmless_variables

DRIVERS = ("clickhouse_connect", "duckdb", "oracledb", "psycopg", "pymongo", "pymssql", "pymysql")

keep_harmless_variables()  # first: some drivers read the environment on import
for driver in DRIVERS:
    with suppress(ImportError):
        import_module(driver)
import_module("datasources.connections.sandbox.attempt")
