"""The details of a failure: what they name, how they are checked, and their sentences."""

import asyncio
import pickle

from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.failures import Code, ConnectionFailure, message_of
from datasources.connections.outcome import no_outcome, read_outcome
from datasources.connections.sandbox.attempt import attempt_in_child
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import (
    LOOPBACK_POLICY,
    configuration_to,
    connector_to,
)
from datasources.schemas.reading.sandbox import Reading
from rivergen.testing.services import free_port

MANY_FIELDS = ["host", "password", "line"] * 99


class DetailsTests(SimpleTestCase):
    def test_message_names_the_fields_and_the_line(self):
        label = Code.FIELDS_MISSING.label
        for details, expected in (
            ({}, label),
            ({"fields": ["host", "database_name"]}, f"{label} Not set: host, database_name."),
            ({"line": 3}, f"{label} Line: 3."),
            ({"fields": ["host"], "line": 3}, f"{label} Not set: host. Line: 3."),
        ):
            with self.subTest(details):
                self.assertEqual(message_of("FIELDS_MISSING", details), expected)
                failure = ConnectionFailure(Code.FIELDS_MISSING, **details)
                for copy in (failure, pickle.loads(pickle.dumps(failure))):
                    self.assertEqual(str(copy), expected)
                    self.assertEqual((copy.code, copy.details), (Code.FIELDS_MISSING, details))

    def test_details_of_a_child_are_known_and_bounded(self):
        for details in (
            {},
            {"fields": ["host", "connection_string", "token", "ssh_private_key"]},
            {"line": 1},
            {"found": "excel"},
        ):
            with self.subTest(details):
                given = no_outcome("OK") | {"details": details}
                self.assertEqual(read_outcome(given)["details"], details)
        for details in (
            *(None, [], "words", 1),
            {"words of the server": 1},
            *({"line": line} for line in (0, -1, 2**53, 1.5, True, "1", None, [1])),
            *({"fields": fields} for fields in ([], "host", {"host": 1}, ["words"], [["host"]])),
            *({"found": found} for found in ("words", "", None, 1, ["excel"])),
            {"fields": MANY_FIELDS},
            {"fields": ["host"] * 99},
        ):
            with self.subTest(details), self.assertRaises((LookupError, TypeError, ValueError)):
                read_outcome(no_outcome("OK") | {"details": details})
            with self.subTest(details), self.assertRaises((LookupError, TypeError, ValueError)):
                Reading(Configuration("csv")).take({"code": "OK", "details": details})


class MissingFieldsTests(SimpleTestCase):
    def test_all_missing_fields_of_a_type_are_named_at_once(self):
        tunnel = {"use_ssh_tunnel": True}
        for type_name, fields, expected in (
            ("postgresql", {}, ["host", "database_name"]),
            ("mysql", {"host": "h"}, ["database_name"]),
            ("mysql", {"host": "", "database_name": ""}, ["host", "database_name"]),
            ("clickhouse", tunnel, ["host", "database_name", "ssh_host", "ssh_username"]),
            ("mssql", {"host": "h"}, ["database_name", "username"]),
            ("oracle", {"host": "h"}, ["database_name", "username", "password"]),
            ("oracle", {"host": "h", "username": "u"}, ["database_name", "password"]),
            ("mongodb", {}, ["host", "database_name"]),
            ("mongodb", {"host": "h", "username": "u"}, ["database_name", "password"]),
            ("databricks", {"host": "h"}, ["database_name", "connection_string", "token"]),
            ("bigquery", {}, ["database_name", "service_account_json"]),
            ("csv", {}, ["file_path"]),
        ):
            connector = CONNECTORS[type_name]
            configuration = Configuration(type_name, port=1, **fields)
            with self.subTest(type_name, **fields):
                if not connector.is_driver_installed():
                    self.skipTest(f"{connector.driver} is not installed.")
                outcome = attempt(configuration, LOOPBACK_POLICY, Stages())
                self.assertEqual(outcome["code"], Code.FIELDS_MISSING)
                self.assertEqual(outcome["details"], {"fields": expected})
                self.assertEqual(outcome["stages"], [])

    def test_missing_fields_are_named_by_the_sandbox(self):
        configuration = Configuration("postgresql", port=1)
        outcome = asyncio.run(attempt_in_child(configuration, LOOPBACK_POLICY))
        self.assertEqual(outcome["details"], {"fields": ["host", "database_name"]})

    def test_missing_port_is_named(self):
        configuration = configuration_to("postgresql", None)
        self.assertEqual(CONNECTORS["postgresql"].missing_fields(configuration), ["port"])

    def test_credentials_that_a_driver_needs_are_named_before_anything_is_sent(self):
        for type_name, fields, expected in (
            ("mssql", {"username": None}, ["username"]),
            ("oracle", {"secrets": {}}, ["password"]),
            ("mongodb", {"secrets": {}}, ["password"]),
        ):
            with self.subTest(type_name), self.assertRaises(ConnectionFailure) as caught:
                connector_to(type_name, free_port(), **fields).connect()
            self.assertEqual(caught.exception.code, Code.CREDENTIALS_UNSET)
            self.assertEqual(caught.exception.details, {"fields": expected})
