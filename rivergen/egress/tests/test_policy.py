"""The egress policy, against every spelling of an address."""

import socket
from contextlib import ExitStack
from ipaddress import ip_network
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from rivergen.egress.exceptions import EgressDenied, EgressError, HostNotFound
from rivergen.egress.policy import egress_policy
from rivergen.egress.rules import parse_rules
from rivergen.testing.resolving import (
    ALLOW_LOOPBACK,
    LOOPBACK,
    METADATA,
    NAMES,
    PUBLIC,
    Listener,
    policy,
    resolving,
)

# The IANA registries of special-purpose addresses, and all IPv6 outside global unicast (2000::/3).
SPECIAL_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64"),
    *("200::/7", "2001::/32", "2001::/23", "2001:2::/48", "2001:10::/28", "2001:20::/28"),
    *("2001:db8::/32", "3fff::/20", "4000::/3", "5f00::/16", "8000::/3", "fc00::/7"),
    *("fe80::/10", "fec0::/10", "ff00::/8"),
)
PUBLIC_NEIGHBOURS = (
    *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"),
    *("172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255"),
    *("192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "2620:fe::fe"),
    *("2606:4700::1111", "3ffe:ffff::", "3fff:1000::", "3fff:ffff::"),
)


class EgressPolicyTests(SimpleTestCase):
    def setUp(self):
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.resolver = resolving(stack)
        self.listener = Listener(stack)

    def error_of(self, policy, host, port=5432):
        """Resolve a host and connect to each address; return the type of the refusal, or None."""
        try:
            addresses = policy.resolve(host, port)
        except EgressError as error:
            return type(error)
        for address in addresses:
            socket.create_connection((address, port), timeout=5).close()
        return None

    def assert_resolves(self, policy, host, addresses, port=5432):
        self.assertEqual(policy.resolve(host, port), addresses)

    def assert_denied(self, policy, host, port=5432):
        with self.assertRaises(EgressDenied):
            policy.resolve(host, port)

    def is_refused(self, policy, host):
        """Return whether a host is refused without a lookup."""
        try:
            policy.check_name(host)
        except EgressDenied:
            return True
        finally:
            self.assertEqual(self.resolver.asked, [])
        return False

    def test_every_spelling_of_loopback_is_refused(self):
        self.assertGreater(len(set(LOOPBACK)), 40)
        for host in LOOPBACK:
            with self.subTest(host=host):
                error = self.error_of(policy(), host, self.listener.port)
                # Only some resolvers take these for addresses.
                unknown = ("127.0.0.1.", "::1%lo", "：：１")
                expected = (EgressDenied, *([HostNotFound] if host in unknown else []))
                self.assertIn(error, expected)
        self.assertTrue(self.listener.was_untouched())

    def test_metadata_link_local_and_multicast_addresses_are_refused_in_every_spelling(self):
        with mock.patch("socket.socket.connect") as connect:
            for host in METADATA:
                with self.subTest(host=host):
                    self.assertEqual(self.error_of(policy(), host, 80), EgressDenied)
        connect.assert_not_called()

    def test_every_spelling_of_the_own_database_is_refused_even_if_allowed_by_rules(self):
        port = self.listener.port
        for own in ("127.0.0.1", "::1", "0.0.0.0"):
            allowing = policy(allow=ALLOW_LOOPBACK, own=[(own, port)])
            for host in LOOPBACK:
                with self.subTest(host=host, own=own):
                    self.assertIsNotNone(self.error_of(allowing, host, port))
        self.assertTrue(self.listener.was_untouched())

    def test_own_database_is_denied_at_its_port_only(self):
        allowing = policy(allow="127.0.0.0/8", own=[("127.0.0.1", 5432), ("10.0.0.5", 6432)])
        self.assert_denied(allowing, "127.0.0.1", 5432)
        self.assert_denied(allowing, "127.0.0.9", 5432)
        self.assert_denied(allowing, "10.0.0.5", 6432)
        self.assert_denied(allowing, "::ffff:10.0.0.5", 6432)
        self.assert_denied(allowing, "private.example.com", 6432)
        self.assert_resolves(allowing, "127.0.0.1", ["127.0.0.1"], 6432)
        self.assert_resolves(allowing, "10.0.0.5", ["10.0.0.5"], 5432)
        self.assert_resolves(allowing, "10.0.0.6", ["10.0.0.6"], 6432)

    def test_own_database_with_ipv4_inside_ipv6_is_denied_by_its_ipv4_address(self):
        for own in ("::ffff:10.0.0.5", "64:ff9b::10.0.0.5"):
            with self.subTest(own=own):
                self.assert_denied(policy(own=[(own, 5432)]), "10.0.0.5")

    def test_allowed_name_that_resolves_to_own_database_is_denied(self):
        allowing = policy(allow="private.example.com", own=[("fd12::5", 5432)])
        self.assert_denied(allowing, "private.example.com")

    def test_own_database_on_this_machine_is_denied_by_every_address_of_the_machine(self):
        # 127.0.0.2 stands for the address of a network card: a socket can be bound to both.
        allowing = policy(allow="127.0.0.0/8", own=[("10.0.0.5", 5432)])
        with mock.patch(
            "rivergen.egress.policy.is_this_machine",
            lambda address: str(address) in ("10.0.0.5", "10.0.0.6", "127.0.0.2"),
        ):
            self.assert_denied(allowing, "127.0.0.2")
            self.assert_denied(allowing, "10.0.0.6")
            self.assert_resolves(allowing, "10.0.0.7", ["10.0.0.7"])

    def test_private_and_public_addresses_are_allowed_by_default(self):
        hosts = ("10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::5", PUBLIC)
        for host in (*hosts, "2001:db8::7", "::ffff:10.0.0.5", "64:ff9b::a00:5", "2002:a00:5::1"):
            with self.subTest(host=host):
                self.assertEqual(len(policy().resolve(host, 5432)), 1)
        self.assert_resolves(policy(), "private.example.com", ["10.0.0.5", "fd12::5"])

    def test_private_addresses_in_local_nat64_prefix_are_allowed(self):
        for host in ("64:ff9b:1::10.0.0.5", "64:ff9b:1:a00:0:500::", "64:ff9b:1:0:a:0:500:0"):
            with self.subTest(host=host):
                self.assertEqual(policy().resolve(host, 5432), [host.replace("10.0.0.5", "a00:5")])

    def test_denied_address_in_local_nat64_prefix_is_denied_at_each_prefix_length(self):
        denying = policy(deny="192.0.2.33")
        for host in (
            "64:ff9b:1:c000:2:2100::",
            "64:ff9b:1:c0:0:221::",
            "64:ff9b:1:0:c0:2:2100:0",
            "64:ff9b:1:1:2:3:c000:221",
        ):
            with self.subTest(host=host):
                self.assert_denied(denying, host)

    def test_name_with_one_denied_address_is_denied(self):
        self.assert_denied(policy(), "half.example.com")
        self.assert_denied(policy(), "half6.example.com")
        self.assert_resolves(policy(), "public.example.com", [PUBLIC])

    def test_name_is_looked_up_once_and_resolves_to_the_checked_address(self):
        self.assert_resolves(policy(), "rebind.example.com", [PUBLIC])
        self.assertEqual(self.resolver.asked, ["rebind.example.com"])
        self.assert_denied(policy(), "rebind.example.com")

    def test_names_that_do_not_resolve_raise_host_not_found(self):
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
            with self.subTest(host=host), self.assertRaises(HostNotFound):
                policy().resolve(host, 5432)

    def test_lookup_without_addresses_raises_host_not_found(self):
        with (
            mock.patch.dict(NAMES, {"empty.example.com": [[]]}),
            self.assertRaises(HostNotFound),
        ):
            policy().resolve("empty.example.com", 5432)

    def test_egress_errors_name_no_address_and_have_no_cause(self):
        for host in ("127.0.0.1", "loopback.example.com", "nobody.example.com"):
            with self.subTest(host=host), self.assertRaises(EgressError) as refusal:
                policy().resolve(host, 5432)
            self.assertIn(str(refusal.exception), (EgressDenied.message, HostNotFound.message))
            self.assertTrue(
                refusal.exception.__suppress_context__ or not refusal.exception.__context__
            )

    def test_allowed_networks_override_default_denials(self):
        for allow in ("127.0.0.0/8", "127.0.0.1", "127.0.0.0/30"):
            with self.subTest(allow=allow):
                self.assert_resolves(policy(allow=allow), "127.1", ["127.0.0.1"])
                self.assertIsNone(
                    self.error_of(policy(allow=allow), "127.0.0.1", self.listener.port)
                )
        self.assert_resolves(policy(allow="::1"), "::1", ["::1"])
        self.assert_resolves(policy(allow="127.0.0.0/8"), "::ffff:127.0.0.1", ["::ffff:127.0.0.1"])
        self.assert_denied(policy(allow="::ffff:0:0:0/95"), "::ffff:0:127.0.0.1")

    def test_allowed_networks_wider_than_a_default_denial_do_not_override_it(self):
        for allow in ("0.0.0.0/0,::/0", "126.0.0.0/7", "168.0.0.0/5,fd00::/8,128.0.0.0/1"):
            for host in ("127.0.0.1", "::1", "169.254.169.254", "168.63.129.16", "fd00:ec2::254"):
                with self.subTest(allow=allow, host=host):
                    self.assert_denied(policy(allow=allow), host)

    def test_allowing_link_local_does_not_allow_cloud_metadata(self):
        allowing = policy(allow="169.254.0.0/16,fe80::/10,100.64.0.0/10")
        self.assert_resolves(allowing, "169.254.1.1", ["169.254.1.1"])
        self.assert_resolves(allowing, "100.100.100.201", ["100.100.100.201"])
        for host in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fe80::a9fe:a9fe"):
            with self.subTest(host=host):
                self.assert_denied(allowing, host)

    def test_narrowest_network_decides_and_denial_wins_a_tie(self):
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

    def test_denied_name_is_not_looked_up(self):
        for deny in ("public.example.com", "*.example.com", "PUBLIC.Example.com.", "*.COM"):
            for host in ("public.example.com", "Public.EXAMPLE.com."):
                with self.subTest(deny=deny, host=host):
                    self.assert_denied(policy(deny=deny, allow="203.0.113.7"), host)
        self.assertEqual(self.resolver.asked, [])

    def test_allowed_name_may_resolve_to_any_address(self):
        self.assert_resolves(
            policy(allow="loopback.example.com"), "LOOPBACK.example.com.", ["127.0.0.1"]
        )
        allowing = policy(allow="*.example.com", deny="0.0.0.0/0")
        self.assert_resolves(allowing, "half.example.com", [PUBLIC, "127.0.0.1"])
        self.assert_denied(policy(allow="*.example.com"), "127.0.0.1")
        self.assert_denied(policy(allow="example.com"), "loopback.example.com")

    def test_exact_names_win_over_wildcards_and_longer_wildcards_over_shorter(self):
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

    def test_exact_name_wins_over_wildcard_of_the_same_length(self):
        with mock.patch.dict(NAMES, {"a.example.com": [[PUBLIC]]}):
            exact = policy(allow="a.example.com", deny="*.example.com")
            self.assert_resolves(exact, "a.example.com", [PUBLIC])

    def test_wildcard_covers_only_the_names_below(self):
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

    def test_internationalized_names_match_in_unicode_and_in_punycode(self):
        for rule in ("bücher.example.com", "xn--bcher-kva.example.com", "*.example.com"):
            for host in ("bücher.example.com", "BÜCHER.example.com.", "xn--bcher-kva.example.com"):
                with self.subTest(rule=rule, host=host):
                    self.assert_denied(policy(deny=rule, allow="127.0.0.1"), host)
                    self.assert_resolves(policy(allow=rule), host, ["127.0.0.1"])

    def test_rules_for_sharp_s_are_not_rules_for_ss(self):
        for rule in ("faß.example.test", "FAẞ.example.test.", "xn--fa-hia.example.test"):
            with self.subTest(rule):
                denying = policy(deny=rule, allow="127.0.0.0/8")
                self.assert_denied(denying, "faß.example.test")
                self.assert_denied(denying, "XN--FA-HIA.example.test.")
                self.assert_resolves(denying, "fass.example.test", ["127.0.0.9"])

    def test_fake_a_labels_are_no_rule_and_evade_no_wildcard(self):
        for rule in ("xn--n3h.example.com", "*.xn--fass-x.example", "fa\u00adss.example"):
            with self.subTest(rule), self.assertRaisesMessage(ValueError, "is not a network"):
                parse_rules(rule)
        self.assert_denied(policy(deny="*.example.com"), "xn--n3h.example.com")

    def test_address_followed_by_an_allowed_name_is_denied(self):
        # Some versions of libc parse an address up to a space, and an IPv6 zone may be any text.
        for host in ("127.0.0.1 .example.com", "127.0.0.1\n.example.com", "::1%1.example.com"):
            with self.subTest(host=host), mock.patch.dict(NAMES, {host: [["127.0.0.1"]]}):
                self.assert_denied(policy(allow="*.example.com"), host)

    def test_denied_plain_addresses_are_refused_without_a_lookup(self):
        for host in ("127.0.0.1", "::1", "169.254.169.254", "fe80::1%eth0"):
            with self.subTest(host=host):
                self.assertTrue(self.is_refused(policy(), host))
        for host in ("10.0.0.5", "localhost", "loopback.example.com"):
            with self.subTest(host=host):
                self.assertFalse(self.is_refused(policy(), host))

    def test_ipv6_zone_is_kept_with_its_address(self):
        [address] = policy(allow="fe80::/10").resolve("fe80::1%1", 5432)
        self.assertEqual(address, "fe80::1%1")
        self.assertTrue(policy(allow="fe80::/10").allows("fe80::1%1", 5432))
        self.assertFalse(policy(own=[("fd12::5", 1)]).allows("fd12::5%1", 1))


class PublicOnlyTests(SimpleTestCase):
    """EGRESS_DEFAULT=public: only what is reachable from everywhere."""

    def setUp(self):
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.resolver = resolving(stack)

    def assert_allowed(self, policy, *hosts):
        for host in hosts:
            with self.subTest(host=host):
                self.assertTrue(policy.allows(host, 5432))

    def assert_denied(self, policy, *hosts):
        for host in hosts:
            with self.subTest(host=host):
                self.assertFalse(policy.allows(host, 5432))

    def test_first_and_last_address_of_each_special_network_is_denied(self):
        for network in map(ip_network, SPECIAL_NETWORKS):
            first, last = network[0], network[-1]
            self.assert_denied(policy(default="public"), str(first), str(last))

    def test_neighbours_of_special_networks_are_allowed(self):
        self.assert_allowed(policy(default="public"), *PUBLIC_NEIGHBOURS)

    def test_special_networks_are_denied_inside_every_ipv6_form_of_ipv4(self):
        for network in map(ip_network, SPECIAL_NETWORKS):
            if network.version == 4:
                address = network[-1]
                pair = f"{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"
                self.assert_denied(
                    policy(default="public"),
                    f"::ffff:{address}",
                    f"::{address}",
                    f"::ffff:0:{address}",
                    f"64:ff9b::{address}",
                    f"2002:{pair}::1",
                )

    def test_public_ipv4_addresses_are_allowed_as_mapped_and_behind_nat64(self):
        self.assert_allowed(
            policy(default="public"), "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"
        )

    def test_allow_rules_are_exceptions_from_public_only(self):
        excepting = policy(allow="10.1.0.0/16,fd12::/32,100.64.0.0/10", default="public")
        self.assert_allowed(
            excepting, "10.1.2.3", "fd12::5", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "100.64.0.1"
        )
        self.assert_denied(excepting, "10.2.0.1", "fd13::5", "127.0.0.1", "100.100.100.200")
        everything = policy(allow="0.0.0.0/0,::/0", default="public")
        self.assert_denied(everything, "10.1.2.3", "fd12::5", "127.0.0.1", "64:ff9b:1::8.8.8.8")
        exact = policy(allow="10.0.0.0/8,fc00::/7", deny="10.0.0.5", default="public")
        self.assert_allowed(exact, "10.0.0.6", "fd12::5")
        self.assert_denied(exact, "10.0.0.5", "fd00:ec2::254")
        without_ipv6 = policy(deny="::/0", default="public")
        self.assert_denied(without_ipv6, "64:ff9b::8.8.8.8", "2606:4700::1111")

    def test_allowed_name_may_be_private(self):
        excepting = policy(allow="private.example.com", default="public")
        self.assertEqual(excepting.resolve("private.example.com", 5432), ["10.0.0.5", "fd12::5"])
        with self.assertRaises(EgressDenied):
            policy(default="public").resolve("private.example.com", 5432)

    def test_private_addresses_are_refused_without_a_lookup(self):
        for host in ("10.0.0.5", "fd12::5", "100.64.0.1", "::ffff:192.168.0.1"):
            with self.subTest(host=host), self.assertRaises(EgressDenied):
                policy(default="public").check_name(host)
        self.assertEqual(self.resolver.asked, [])


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

    def test_own_database_on_unix_socket_counts_as_loopback_unless_embedded(self):
        for host in ("", "/run/postgresql", "@abstract"):
            for is_embedded, expected in ((True, set()), (False, {("127.0.0.1", 5432)})):
                with (
                    self.subTest(host=host, is_embedded=is_embedded),
                    self.settings(IS_DATABASE_EMBEDDED=is_embedded),
                ):
                    self.assertEqual(self.own(HOST=host), expected)

    def test_own_database_host_is_resolved(self):
        names = {"HOST": "private.example.com", "PORT": 6432}
        self.assertEqual(self.own(**names), {("10.0.0.5", 6432), ("fd12::5", 6432)})
        self.assertEqual(self.own(HOST="10.0.0.9"), {("10.0.0.9", 5432)})

    def test_replica_counts_as_own_database(self):
        replica = {"HOST": "10.0.0.9", "PORT": 6432}
        expected = {("10.0.0.8", 5432), ("10.0.0.9", 6432)}
        self.assertEqual(self.own(replica, HOST="10.0.0.8"), expected)

    def test_own_database_may_have_several_hosts_and_ports(self):
        expected = {(host, port) for host in ("10.0.0.8", "10.0.0.9") for port in (5432, 5433)}
        self.assertEqual(self.own(HOST="10.0.0.8,10.0.0.9", PORT="5432,5433"), expected)

    def test_own_database_is_read_from_connection_options(self):
        options = {"host": "10.0.0.8", "port": "5433"}
        self.assertEqual(self.own(OPTIONS=options), {("10.0.0.8", 5433)})

    def test_own_database_with_hostaddr_is_not_looked_up_by_name(self):
        options = {"hostaddr": "10.0.0.9,,10.0.0.7"}
        self.assertEqual(
            self.own(HOST="nobody.example.com,private.example.com", OPTIONS=options),
            {(address, 5432) for address in ("10.0.0.9", "10.0.0.5", "fd12::5", "10.0.0.7")},
        )

    def test_own_database_is_read_from_libpq_environment_variables(self):
        with mock.patch.dict("os.environ", PGHOST="10.0.0.8", PGPORT="5433"):
            self.assertEqual(self.own(), {("10.0.0.8", 5433)})
            self.assertEqual(self.own(HOST="10.0.0.9", PORT=1), {("10.0.0.9", 1)})

    def test_own_database_that_cannot_be_resolved_raises_host_not_found(self):
        with self.assertRaises(HostNotFound):
            self.own(HOST="nobody.example.com")

    def test_policy_takes_its_default_from_settings(self):
        with override_settings(EGRESS_DEFAULT="public"), self.assertRaises(EgressDenied):
            egress_policy().resolve("10.0.0.5", 5432)
        with override_settings(EGRESS_DEFAULT="private"):
            self.assertEqual(egress_policy().resolve("10.0.0.5", 5432), ["10.0.0.5"])

    def test_policy_takes_its_rules_from_settings(self):
        allow, deny = parse_rules("127.0.0.0/8"), parse_rules("10.0.0.0/8,*.example.com")
        with override_settings(EGRESS_ALLOW=allow, EGRESS_DENY=deny):
            self.assertEqual(egress_policy().resolve("127.0.0.1", 1), ["127.0.0.1"])
            for host in ("10.0.0.5", "public.example.com"):
                with self.subTest(host=host), self.assertRaises(EgressDenied):
                    egress_policy().resolve(host, 1)
