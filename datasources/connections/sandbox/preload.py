"""Imported by the fork server, before anything else: children start with this code loaded.

Only drivers that start no thread on import are listed: a fork does not copy threads.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module

from datasources.connections.sandbox.environment import harmless_variables

DRIVERS = ("clickhouse_connect", "duckdb", "oracledb", "psycopg", "pymongo", "pymssql", "pymysql")

IS_CLEAN = "RIVERGEN_IS_CLEAN"

# /proc shows the environment that a program was started with, and drivers read it on import.
# multiprocessing passes all of it, so start this program once more without the keys.
if IS_CLEAN not in os.environ:
    os.execve(sys.executable, sys.orig_argv, {**harmless_variables(), IS_CLEAN: "1"})
for driver in DRIVERS:
    with suppress(ImportError):
        import_module(driver)
import_module("datasources.connections.sandbox.attempt")
import_module("datasources.connections.sandbox.lockdown").prepare()
