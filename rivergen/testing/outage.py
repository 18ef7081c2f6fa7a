"""A database out of reach, as a process meets it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def without_database(function: Callable[[], T]) -> T:
    """Call `function` where the database cannot be reached, and give what it returns.

    A thread has a connection of its own: it looks for the server where nothing listens.
    """

    def call() -> T:
        connection.settings_dict = {**connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
