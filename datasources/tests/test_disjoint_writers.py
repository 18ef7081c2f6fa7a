"""Tests of `allow_disjoint` from concurrent writers, each on its own database connection."""

from dataclasses import replace
from typing import Any

from django.db import connection
from django.test import SimpleTestCase, TransactionTestCase

from bench.disjoint_writers import OWNED, Answer, fault_of, faults_of, read_source, run_writers
from datasources.testing import DataSourceTestMixin

ROUNDS = 20
HISTORY: dict[int, dict[str, Any]] = {
    1: {},
    2: {"name": {"from": "a", "to": "b"}},
    3: {"tags": {"from": [], "to": ["c"]}},
}
STORED = Answer({"tags": ["c"]}, named=1, status=200, current=3, overlapping=frozenset())


class DisjointWritersTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def test_concurrent_writers_lose_nothing_and_are_refused_only_for_overlaps(self):
        def send(body: dict[str, Any], version: int) -> tuple[int, dict[str, Any], int]:
            response = self.call(
                "patch",
                f"{self.path}?allow_disjoint=true",
                body,
                self.editor,
                headers={"If-Match": f'"{version}"'},
            )
            return response.status_code, response.json(), int(response["ETag"].strip('"'))

        answers = run_writers([send] * len(OWNED), ROUNDS, done=lambda: connection.close())
        self.assertEqual(len(answers), len(OWNED) * ROUNDS)
        self.assertEqual(faults_of(answers, *read_source(self.data_source.pk)), [])
        self.assertEqual({answer.status for answer in answers}, {200, 412})


class FaultsTests(SimpleTestCase):
    """The checks themselves, which would otherwise find nothing wrong with anything."""

    def test_right_answers_have_no_fault(self):
        refused = Answer({"name": "x", "port": 1}, 1, 412, 3, frozenset({"name"}))
        for answer in (STORED, refused):
            self.assertEqual(fault_of(answer, HISTORY), "")

    def test_wrong_answers_have_a_fault(self):
        for answer, words in (
            (replace(STORED, status=500), "500"),
            (replace(STORED, body={"name": "c"}, current=3), "overwritten"),
            (replace(STORED, body={"tags": ["d"]}), "lost"),
            (replace(STORED, body={"port": 1}, status=412), "nothing had changed"),
            (replace(STORED, body={"name": "x"}, status=412), "the response said"),
        ):
            with self.subTest(answer=answer):
                self.assertIn(words, fault_of(answer, HISTORY))

    def test_versions_and_values_that_are_missing_are_a_fault(self):
        names = [name for own in OWNED for name in own(0)]
        history = {1: {name: {"to": None} for name in names}, 2: {"name": {"to": "b"}}}
        row = {**dict.fromkeys(names), "name": "b", "version": 2}
        answer = Answer({"name": "b"}, 1, 200, 2, frozenset())
        self.assertEqual(faults_of([answer], row, history), [])
        [gap] = faults_of([], row, history)
        self.assertIn("1 versions were acknowledged", gap)
        [lost] = faults_of([answer], {**row, "port": 1}, history)
        self.assertIn("port is 1", lost)
