"""The egress policy on a tunnel: it applies to the SSH server, not to the hosts behind it."""

from datasources.connections.attempt import attempt
from datasources.connections.failures import Code
from datasources.connections.stages import Stages
from datasources.connections.testing.tunnels import TunnelTestCase
from rivergen.egress.policy import EgressPolicy

# The SSH server of the tests is allowed by its name, and loopback addresses are denied.
POLICY = EgressPolicy(allow=["localhost"], default="public")


class TunnelEgressTests(TunnelTestCase):
    def attempt(self, **fields):
        names = {"ssh_host": "localhost", "database_name": "sales", "username": "reader"}
        return attempt(self.by_key(**{**names, **fields}), POLICY, Stages())

    def test_private_ssh_server_is_denied_if_only_public_networks_are_allowed(self):
        outcome = self.attempt(ssh_host="10.0.0.5")
        self.assertEqual(outcome["code"], Code.EGRESS_DENIED)
        self.assertEqual([stage["stage"] for stage in outcome["stages"]], ["policy"])

    def test_private_host_without_tunnel_is_denied_if_only_public_networks_are_allowed(self):
        outcome = self.attempt(host="10.0.0.5", use_ssh_tunnel=False)
        self.assertEqual(outcome["code"], Code.EGRESS_DENIED)

    def test_denied_host_behind_an_allowed_ssh_server_is_the_decision_of_that_server(self):
        outcome = self.attempt(host="127.0.0.1")
        stages = {stage["stage"]: stage["ok"] for stage in outcome["stages"]}
        self.assertTrue(stages["ssh"])
        self.assertEqual(outcome["code"], Code.PROTOCOL_FAILED)  # an echo server
