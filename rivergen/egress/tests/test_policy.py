"""Where a connection may go: in all the ways to say where."""

import socket
from contextlib import ExitStack
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from datasources.connections.failures import Code, ConnectionFailure
from rivergen.egress.policy import EgressPolicy, egress_policy
from rivergen.egress.rules import parse_rules
from rivergen.testing.resolving import (
    LOOPBACK,
    METADATA,
    NAMES,
    PUBLIC,
    Listener,
    resolving,
)

EVERYTHING = "127.0.0.0/8,127.0.0.1,0.0.0.0/8,::,::1,::/96,*.example.com,localhost"


def policy(allow="", deny="", own=()):
    return EgressPolicy(parse_rules(allow), parse_rules(deny), frozenset(own))


class EgressPolicyTests(SimpleTestCase):
    def setUp(self):
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.resolver = resolving(stack)
        self.listener = Listener(stack)

    def code(self, policy, host, port=5432):
        """Resolve, and connect to what comes of it, as a connection test does."""
        try:
            addresses = policy.resolve(host, port)
        except ConnectionFailure as failure:
            return failure.code
        for address in addresses:
            socket.create_connection((address, port), timeout=5).close()
        return Code.OK

    def assert_resolves(self, policy, host, addresses, port=5432):
        self.assertEqual(policy.resolve(host, port), addresses)

    def assert_denied(self, policy, host, port=5432):
        with self.assertRaises(ConnectionFailure) as refusal:
            policy.resolve(host, port)
        self.assertEqual(refusal.exception.code, Code.EGRESS_DENIED)

    def is_refused(self, policy, host):
        """Whether it is refused before it is looked up."""
        try:
            policy.check_name(host)
        except ConnectionFailure as failure:
            self.assertEqual(failure.code, Code.EGRESS_DENIED)
            return True
        finally:
            self.assertEqual(self.resolver.asked, [])
        return False

    def test_no_spelling_of_loopback_is_connected_to(self):
        self.assertGreater(len(set(LOOPBACK)), 40)
        for host in LOOPBACK:
            with self.subTest(host=host):
                code = self.code(policy(), host, self.listener.port)
                # These are addresses to some resolvers only.
                unknown = ("127.0.0.1.", "::1%lo", "：：１")
                expected = (Code.EGRESS_DENIED, *([Code.DNS_FAILED] if host in unknown else []))
                self.assertIn(code, expected)
        self.assertTrue(self.listener.was_untouched())

    def test_no_spelling_of_metadata_link_local_or_multicast_is_connected_to(self):
        with mock.patch("socket.socket.connect") as connect:
            for host in METADATA:
                with self.subTest(host=host):
                    self.assertEqual(self.code(policy(), host, 80), Code.EGRESS_DENIED)
        connect.assert_not_called()

    def test_no_spelling_of_its_own_database_is_connected_to_whatever_is_allowed(self):
        port = self.listener.port
        for own in ("127.0.0.1", "::1", "0.0.0.0"):
            allowing = policy(allow=EVERYTHING, own=[(own, port)])
            for host in LOOPBACK:
                with self.subTest(host=host, own=own):
                    self.assertNotEqual(self.code(allowing, host, port), Code.OK)
        self.assertTrue(self.listener.was_untouched())

    def test_its_own_database_is_denied_at_its_port_only(self):
        allowing = policy(allow="127.0.0.0/8", own=[("127.0.0.1", 5432), ("10.0.0.5", 6432)])
        self.assert_denied(allowing, "127.0.0.1", 5432)
        self.assert_denied(allowing, "127.0.0.9", 5432)
        self.assert_denied(allowing, "10.0.0.5", 6432)
        self.assert_denied(allowing, "::ffff:10.0.0.5", 6432)
        self.assert_denied(allowing, "private.example.com", 6432)
        self.assert_resolves(allowing, "127.0.0.1", ["127.0.0.1"], 6432)
        self.assert_resolves(allowing, "10.0.0.5", ["10.0.0.5"], 5432)
        self.assert_resolves(allowing, "10.0.0.6", ["10.0.0.6"], 6432)

    def test_its_own_database_may_be_given_as_ipv6_that_means_ipv4(self):
        for own in ("::ffff:10.0.0.5", "64:ff9b::10.0.0.5"):
            with self.subTest(own=own):
                self.assert_denied(policy(own=[(own, 5432)]), "10.0.0.5")

    def test_an_allowed_name_is_denied_if_it_is_its_own_database(self):
        allowing = policy(allow="private.example.com", own=[("fd12::5", 5432)])
        self.assert_denied(allowing, "private.example.com")

    def test_its_own_database_is_known_by_the_other_addresses_of_this_machine(self):
        # 127.0.0.2 stands for an address of a network card: it can be bound to as well.
        allowing = policy(allow="127.0.0.0/8", own=[("10.0.0.5", 5432)])
        with mock.patch(
            "rivergen.egress.policy.is_this_machine",
            lambda address: str(address) in ("10.0.0.5", "10.0.0.6", "127.0.0.2"),
        ):
            self.assert_denied(allowing, "127.0.0.2")
            self.assert_denied(allowing, "10.0.0.6")
            self.assert_resolves(allowing, "10.0.0.7", ["10.0.0.7"])

    def test_private_and_public_addresses_are_allowed(self):
        hosts = ("10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::5", PUBLIC)
        for host in (*hosts, "2001:db8::7", "::ffff:10.0.0.5", "64:ff9b::a00:5", "2002:a00:5::1"):
            with self.subTest(host=host):
                self.assertEqual(len(policy().resolve(host, 5432)), 1)
        self.assert_resolves(policy(), "private.example.com", ["10.0.0.5", "fd12::5"])

    def test_private_addresses_behind_a_nat64_of_local_use_are_allowed(self):
        for host in ("64:ff9b:1::10.0.0.5", "64:ff9b:1:a00:0:500::", "64:ff9b:1:0:a:0:500:0"):
            with self.subTest(host=host):
                self.assertEqual(policy().resolve(host, 5432), [host.replace("10.0.0.5", "a00:5")])

    def test_addresses_behind_a_nat64_of_local_use_are_denied_by_each_length_of_its_prefix(self):
        denying = policy(deny="192.0.2.33")
        for host in (
            "64:ff9b:1:c000:2:2100::",
            "64:ff9b:1:c0:0:221::",
            "64:ff9b:1:0:c0:2:2100:0",
            "64:ff9b:1:1:2:3:c000:221",
        ):
            with self.subTest(host=host):
                self.assert_denied(denying, host)

    def test_one_denied_address_refuses_the_whole_name(self):
        self.assert_denied(policy(), "half.example.com")
        self.assert_denied(policy(), "half6.example.com")
        self.assert_resolves(policy(), "public.example.com", [PUBLIC])

    def test_a_name_is_looked_up_once_and_the_checked_address_is_what_is_given(self):
        self.assert_resolves(policy(), "rebind.example.com", [PUBLIC])
        self.assertEqual(self.resolver.asked, ["rebind.example.com"])
        self.assert_denied(policy(), "rebind.example.com")

    def test_names_that_do_not_resolve_say_so(self):
        for host in (
            "nobody.example.com",
            "",
            ".",
            "a..b",
            "x" * 64,
            "a b",
            "[::1]",
            "a\0b",
            "\ud800",
        ):
            with self.subTest(host=host), self.assertRaises(ConnectionFailure) as failure:
                policy().resolve(host, 5432)
            self.assertEqual(failure.exception.code, Code.DNS_FAILED)

    def test_a_lookup_without_addresses_has_failed(self):
        with (
            mock.patch.dict(NAMES, {"empty.example.com": [[]]}),
            self.assertRaises(ConnectionFailure) as failure,
        ):
            policy().resolve("empty.example.com", 5432)
        self.assertEqual(failure.exception.code, Code.DNS_FAILED)

    def test_refusals_name_no_address_and_have_no_cause(self):
        for host in ("127.0.0.1", "loopback.example.com", "nobody.example.com"):
            with self.subTest(host=host), self.assertRaises(ConnectionFailure) as refusal:
                policy().resolve(host, 5432)
            self.assertIn(str(refusal.exception), (Code.EGRESS_DENIED.label, Code.DNS_FAILED.label))
            self.assertTrue(
                refusal.exception.__suppress_context__ or not refusal.exception.__context__
            )

    def test_allowed_networks_outweigh_the_defaults(self):
        for allow in ("127.0.0.0/8", "127.0.0.1", "127.0.0.0/30"):
            with self.subTest(allow=allow):
                self.assert_resolves(policy(allow=allow), "127.1", ["127.0.0.1"])
                self.assertEqual(
                    self.code(policy(allow=allow), "127.0.0.1", self.listener.port), Code.OK
                )
        self.assert_resolves(policy(allow="::1"), "::1", ["::1"])
        self.assert_resolves(policy(allow="127.0.0.0/8"), "::ffff:127.0.0.1", ["::ffff:127.0.0.1"])
        self.assert_denied(policy(allow="::ffff:0:0:0/95"), "::ffff:0:127.0.0.1")

    def test_wider_networks_do_not_outweigh_the_defaults(self):
        for allow in ("0.0.0.0/0,::/0", "126.0.0.0/7", "168.0.0.0/5,fd00::/8,128.0.0.0/1"):
            for host in ("127.0.0.1", "::1", "169.254.169.254", "168.63.129.16", "fd00:ec2::254"):
                with self.subTest(allow=allow, host=host):
                    self.assert_denied(policy(allow=allow), host)

    def test_link_local_addresses_are_allowed_without_metadata(self):
        allowing = policy(allow="169.254.0.0/16,fe80::/10,100.64.0.0/10")
        self.assert_resolves(allowing, "169.254.1.1", ["169.254.1.1"])
        self.assert_resolves(allowing, "100.100.100.201", ["100.100.100.201"])
        for host in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fe80::a9fe:a9fe"):
            with self.subTest(host=host):
                self.assert_denied(allowing, host)

    def test_the_narrowest_network_decides_and_the_denial_of_two_alike(self):
        rules = {
            "allow": "10.1.0.0/16,10.1.2.3,fd12::/32",
            "deny": "10.0.0.0/8,10.1.2.0/24,fd12::/32",
        }
        for host, is_allowed in (
            ("10.9.9.9", False),
            ("10.1.9.9", True),
            ("10.1.2.9", False),
            ("10.1.2.3", True),
            ("11.0.0.1", True),
            ("fd12::1", False),
            ("::ffff:10.9.9.9", False),
            ("2002:a09:909::", False),
            ("64:ff9b::10.1.2.3", True),
        ):
            with self.subTest(host=host):
                self.assertEqual(policy(**rules).allows(host, 5432), is_allowed)
        self.assertFalse(policy(allow="127.0.0.1", deny="127.0.0.1").allows("127.0.0.1", 1))

    def test_a_denied_name_is_not_looked_up(self):
        for deny in ("public.example.com", "*.example.com", "PUBLIC.Example.com.", "*.COM"):
            for host in ("public.example.com", "Public.EXAMPLE.com."):
                with self.subTest(deny=deny, host=host):
                    self.assert_denied(policy(deny=deny, allow="203.0.113.7"), host)
        self.assertEqual(self.resolver.asked, [])

    def test_an_allowed_name_may_mean_any_address(self):
        self.assert_resolves(
            policy(allow="loopback.example.com"), "LOOPBACK.example.com.", ["127.0.0.1"]
        )
        allowing = policy(allow="*.example.com", deny="0.0.0.0/0")
        self.assert_resolves(allowing, "half.example.com", [PUBLIC, "127.0.0.1"])
        self.assert_denied(policy(allow="*.example.com"), "127.0.0.1")
        self.assert_denied(policy(allow="example.com"), "loopback.example.com")

    def test_exact_names_come_before_wildcards_and_longer_ones_before_shorter(self):
        self.assert_denied(
            policy(allow="*.example.com", deny="public.example.com"), "public.example.com"
        )
        exact = policy(allow="public.example.com", deny="*.example.com,*.public.example.com")
        self.assert_resolves(exact, "public.example.com", [PUBLIC])
        self.assert_denied(policy(allow="*.com", deny="*.example.com"), "public.example.com")
        longer = policy(allow="*.example.com", deny="*.com")
        self.assert_resolves(longer, "public.example.com", [PUBLIC])
        self.assert_denied(
            policy(allow="public.example.com", deny="public.example.com"), "public.example.com"
        )

    def test_an_exact_name_comes_before_a_wildcard_of_the_same_length(self):
        with mock.patch.dict(NAMES, {"a.example.com": [[PUBLIC]]}):
            exact = policy(allow="a.example.com", deny="*.example.com")
            self.assert_resolves(exact, "a.example.com", [PUBLIC])

    def test_a_wildcard_is_for_the_names_below(self):
        denying = policy(deny="*.example.com")
        for host, is_denied in (
            ("example.com", False),
            ("badexample.com", False),
            ("a.example.com", True),
            ("a.b.example.com", True),
            ("a.example.com.evil", False),
        ):
            with self.subTest(host=host):
                self.assertEqual(self.is_refused(denying, host), is_denied)

    def test_internationalized_names_match_in_either_form(self):
        for rule in ("bücher.example.com", "xn--bcher-kva.example.com", "*.example.com"):
            for host in ("bücher.example.com", "BÜCHER.example.com.", "xn--bcher-kva.example.com"):
                with self.subTest(rule=rule, host=host):
                    self.assert_denied(policy(deny=rule, allow="127.0.0.1"), host)
                    self.assert_resolves(policy(allow=rule), host, ["127.0.0.1"])

    def test_an_address_that_ends_like_a_name_is_not_allowed_as_one(self):
        # Some versions of libc read an address up to a space, and a zone may be any text.
        for host in ("127.0.0.1 .example.com", "127.0.0.1\n.example.com", "::1%1.example.com"):
            with self.subTest(host=host), mock.patch.dict(NAMES, {host: [["127.0.0.1"]]}):
                self.assert_denied(policy(allow="*.example.com"), host)

    def test_plain_addresses_are_refused_before_a_lookup(self):
        for host in ("127.0.0.1", "::1", "169.254.169.254", "fe80::1%eth0"):
            with self.subTest(host=host):
                self.assertTrue(self.is_refused(policy(), host))
        for host in ("10.0.0.5", "localhost", "loopback.example.com"):
            with self.subTest(host=host):
                self.assertFalse(self.is_refused(policy(), host))

    def test_a_zone_stays_with_its_address(self):
        [address] = policy(allow="fe80::/10").resolve("fe80::1%1", 5432)
        self.assertEqual(address, "fe80::1%1")
        self.assertTrue(policy(allow="fe80::/10").allows("fe80::1%1", 5432))
        self.assertFalse(policy(own=[("fd12::5", 1)]).allows("fd12::5%1", 1))


class EgressSettingsTests(SimpleTestCase):
    def setUp(self):
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.resolver = resolving(stack)

    def own(self, replica=None, **database):
        database = {"HOST": "", "PORT": "", **database}
        databases = {"default": database} | ({"replica": replica} if replica else {})
        with mock.patch.dict(settings.DATABASES, databases):
            return set(egress_policy().own)

    def test_a_database_on_a_unix_socket_listens_on_this_machine_unless_it_is_embedded(self):
        for host in ("", "/run/postgresql", "@abstract"):
            for is_embedded, expected in ((True, set()), (False, {("127.0.0.1", 5432)})):
                with (
                    self.subTest(host=host, is_embedded=is_embedded),
                    self.settings(IS_DATABASE_EMBEDDED=is_embedded),
                ):
                    self.assertEqual(self.own(HOST=host), expected)

    def test_its_own_database_is_looked_up(self):
        names = {"HOST": "private.example.com", "PORT": 6432}
        self.assertEqual(self.own(**names), {("10.0.0.5", 6432), ("fd12::5", 6432)})
        self.assertEqual(self.own(HOST="10.0.0.9"), {("10.0.0.9", 5432)})

    def test_the_replica_is_its_own_database_too(self):
        replica = {"HOST": "10.0.0.9", "PORT": 6432}
        expected = {("10.0.0.8", 5432), ("10.0.0.9", 6432)}
        self.assertEqual(self.own(replica, HOST="10.0.0.8"), expected)

    def test_its_own_database_may_have_several_hosts_and_ports(self):
        expected = {(host, port) for host in ("10.0.0.8", "10.0.0.9") for port in (5432, 5433)}
        self.assertEqual(self.own(HOST="10.0.0.8,10.0.0.9", PORT="5432,5433"), expected)

    def test_its_own_database_may_be_named_by_options(self):
        options = {"host": "10.0.0.8", "port": "5433"}
        self.assertEqual(self.own(OPTIONS=options), {("10.0.0.8", 5433)})

    def test_its_own_database_may_have_an_address_beside_a_name_that_nobody_knows(self):
        options = {"hostaddr": "10.0.0.9,,10.0.0.7"}
        self.assertEqual(
            self.own(HOST="nobody.example.com,private.example.com", OPTIONS=options),
            {(address, 5432) for address in ("10.0.0.9", "10.0.0.5", "fd12::5", "10.0.0.7")},
        )

    def test_its_own_database_may_be_named_by_the_variables_of_libpq(self):
        with mock.patch.dict("os.environ", PGHOST="10.0.0.8", PGPORT="5433"):
            self.assertEqual(self.own(), {("10.0.0.8", 5433)})
            self.assertEqual(self.own(HOST="10.0.0.9", PORT=1), {("10.0.0.9", 1)})

    def test_nothing_is_allowed_while_its_own_database_is_unknown(self):
        with self.assertRaises(ConnectionFailure) as failure:
            self.own(HOST="nobody.example.com")
        self.assertEqual(failure.exception.code, Code.DNS_FAILED)

    def test_the_settings_are_its_rules(self):
        allow, deny = parse_rules("127.0.0.0/8"), parse_rules("10.0.0.0/8,*.example.com")
        with override_settings(EGRESS_ALLOW=allow, EGRESS_DENY=deny):
            self.assertEqual(egress_policy().resolve("127.0.0.1", 1), ["127.0.0.1"])
            for host in ("10.0.0.5", "public.example.com"):
                with self.subTest(host=host), self.assertRaises(ConnectionFailure):
                    egress_policy().resolve(host, 1)
