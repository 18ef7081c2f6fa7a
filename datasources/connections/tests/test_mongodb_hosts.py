"""MongoDB with several hosts in the connection string, against fake servers."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.mongodb import MongoDB
from datasources.connections.failures import Code
from datasources.connections.outcome import Outcome
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.fake_mongodb import HELLO, serve_mongo
from datasources.connections.testing.listeners import Listener
from datasources.models.connection_strings import read_connection_string

LOOK_UP = "datasources.connections.route.look_up"


class SeveralHostsTests(SimpleTestCase):
    def setUp(self):
        self.addresses = {"one.example.test": ["127.0.0.1"], "two.example.test": ["127.0.0.1"]}
        self.answers: dict[str, Any] = {}
        self.one = self.enterContext(Listener(serve_mongo(self.answers)))
        self.two = self.enterContext(Listener(serve_mongo(self.answers)))
        self.members = f"one.example.test:{self.one.port},two.example.test:{self.two.port}"
        hello = HELLO | {"setName": "rs", "hosts": self.members.split(",")}
        self.answers |= {"ismaster": hello, "hello": hello}

    def configuration(self, url: str) -> Configuration:
        fields = read_connection_string(url, CONNECTORS["mongodb"])
        return Configuration("mongodb", **fields, connection_timeout=3, max_retries=0)

    def attempt(self, url: str) -> Outcome:
        with mock.patch(LOOK_UP, side_effect=lambda host: self.addresses[host]) as self.looked_up:
            return attempt(self.configuration(url), LOOPBACK_POLICY, Stages())

    def test_each_host_is_looked_up_once_and_reached_at_the_checked_address(self):
        outcome = self.attempt(f"mongodb://{self.members}/sales?replicaSet=rs")
        self.assertEqual(outcome["code"], Code.OK)
        looked_up = [call.args for call in self.looked_up.call_args_list]
        self.assertEqual(looked_up, [("one.example.test",), ("two.example.test",)])
        self.assertTrue(self.one.received)
        stages = [stage["stage"] for stage in outcome["stages"]]
        self.assertEqual(stages, ["policy", "dns", "tcp", "login", "query"])

    def test_one_denied_host_is_enough_to_send_nothing_to_any(self):
        for host in self.addresses:
            with self.subTest(host), mock.patch.dict(self.addresses, {host: ["169.254.169.254"]}):
                outcome = self.attempt(f"mongodb://{self.members}/sales?replicaSet=rs")
                self.assertEqual(outcome["code"], Code.EGRESS_DENIED)
                self.assertEqual((self.one.received, self.two.received), ([], []))

    def test_host_that_refuses_is_passed_over(self):
        with ExitStack() as stack:
            stack.enter_context(Listener(serve_mongo()))
            closed = stack.enter_context(Listener(serve_mongo())).port
        hello = HELLO | {"setName": "rs", "hosts": [f"two.example.test:{self.two.port}"]}
        self.answers |= {"ismaster": hello, "hello": hello}
        hosts = f"one.example.test:{closed},two.example.test:{self.two.port}"
        self.assertEqual(self.attempt(f"mongodb://{hosts}/sales?replicaSet=rs")["code"], Code.OK)

    def test_hosts_that_all_refuse_are_tcp_refused(self):
        hosts = "one.example.test:1,two.example.test:1"
        outcome = self.attempt(f"mongodb://{hosts}/sales")
        self.assertEqual(outcome["code"], Code.TCP_REFUSED)

    def test_hosts_without_port_have_the_port_of_mongodb(self):
        configuration = self.configuration("mongodb://a,b:5,[::1]/sales")
        self.assertEqual((configuration.host, configuration.port), ("a", MongoDB.default_port))
        self.assertEqual(configuration.other_hosts, [["b", 5], ["::1", MongoDB.default_port]])

    def test_other_hosts_cannot_be_lists_sockets_or_urls(self):
        configuration = self.configuration("mongodb://one.example.test,two.example.test/sales")
        for host in ("a,b", "/tmp/a.sock", "%2Ftmp", "u:p@other"):
            configuration.other_hosts[0][0] = host
            with self.subTest(host), mock.patch.dict(self.addresses, {host: ["127.0.0.1"]}):
                with mock.patch("pymongo.MongoClient") as client:
                    connector = MongoDB(configuration, mock.Mock(host="one", port=1), Stages())
                    with self.assertRaisesMessage(Exception, str(Code.DNS_FAILED.label)):
                        connector.log_in()
                client.assert_not_called()
