"""Connection strings as people paste them: what they mean, and why one is refused."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pymongo.errors import PyMongoError
from pymongo.uri_parser_shared import _validate_uri
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from datasources.connections.connectors import CONNECTORS
from datasources.models.connection_strings import (
    read_connection_string,
    split_secrets,
    url_destination,
    validate_connection_string,
    validate_fit,
    without_secrets,
)
from datasources.models.connection_strings.grammar import parse
from rivergen.hosts import comparable_host

# As they stand in the documentation and the examples of other projects, with hosts, names and
# passwords of our own. Each is `taken`, or `refused` with a sentence.
PASTED = [
    json.loads(line)
    for line in Path(__file__).with_name("pasted_strings.jsonl").read_text().splitlines()
]
TAKEN = [pasted for pasted in PASTED if "taken" in pasted]
SECRET = "hunter"
# Around a secret, whatever is not escaped.
AROUND = st.lists(
    st.sampled_from(
        (
            *("@", "/", "?", "#", "%", "&", "=", ":", "[", "]", ";", ",", " ", "+", "\\", "'", "<"),
            *("db", "password=", "sslmode=", "a", "%40", "{", "sslcert="),
        )
    ),
    max_size=6,
).map("".join)
PIECES = st.sampled_from(
    (
        *("@", ":", "/", "?", "&", "=", ",", ";", "+", "%", "#", "[::1]", "%2C", "%40", "%2F", "$"),
        *("db", "other.example.com", "me", "me:pw@", "a b", "5432", ":27017", "w=1", "tls=", "!"),
        *("appName=x", "?host=", "authSource=a", "charset=utf8", "@db", "x@y", "*", "(", '"', "^"),
    )
)
# Strings of any kind, and such as are nearly right.
PARTS = st.lists(PIECES, max_size=12).map("".join) | st.tuples(
    st.lists(PIECES, max_size=4).map("".join),
    st.sampled_from(("@db", "@db:5432", "@a,b:1", "@[::1]:1", "db")),
    st.lists(PIECES, max_size=2).map("".join),
    st.sampled_from(("", "/x", "/x%2Fy", "/?charset=utf8", "/x?appName=y@z", "?charset=a")),
).map("".join)


def sentence_for(text: str, type_: str) -> str | None:
    """Return why a connection string is refused, or None."""
    try:
        validate_connection_string(text)
        validate_fit(text, CONNECTORS[type_])
    except ValidationError as error:
        return str(error.message)
    return None


class PastedStringTests(SimpleTestCase):
    def test_pasted_strings_are_taken_or_refused_with_the_reason(self):
        self.assertGreater(len(PASTED), 400)
        for pasted in PASTED:
            with self.subTest(pasted["string"]):
                sentence = sentence_for(pasted["string"], pasted["type"])
                if "taken" in pasted:
                    self.assertIsNone(sentence)
                else:
                    self.assertIn(pasted["refused"], sentence or "")
                    self.assertNotIn("s3cret", sentence or "")

    def test_taken_strings_mean_what_they_say(self):
        for pasted in TAKEN:
            with self.subTest(pasted["string"]):
                connector = CONNECTORS[pasted["type"]]
                kept, secrets = split_secrets(pasted["string"], connector)
                read = read_connection_string(kept, connector)
                del read["url_scheme"]
                self.assertEqual({key: read[key] for key in read if read[key]}, pasted["taken"])
                self.assertEqual(secrets, pasted.get("secrets", {}))
                self.assertEqual(kept, pasted.get("stored", pasted["string"]))

    def test_stored_strings_can_be_sent_back_and_mean_the_same(self):
        for pasted in TAKEN:
            with self.subTest(pasted["string"]):
                connector = CONNECTORS[pasted["type"]]
                kept = without_secrets(pasted["string"])
                self.assertIsNone(sentence_for(kept, pasted["type"]))
                self.assertEqual(split_secrets(kept, connector), (kept, {}))
                self.assertEqual(
                    url_destination(kept, connector),
                    url_destination(pasted["string"], connector),
                )

    def test_libpq_and_sqlalchemy_and_pymongo_read_taken_strings_alike(self):
        compared = {read.__name__: 0 for read in (by_libpq, by_sqlalchemy, by_pymongo)}
        for pasted in TAKEN:
            for read in (by_libpq, by_sqlalchemy, by_pymongo):
                with self.subTest(pasted["string"], read=read.__name__):
                    theirs = read(pasted["string"])
                    if theirs is not None:
                        compared[read.__name__] += 1
                        self.assertEqual(theirs, parts_of(pasted["string"]))
        self.assertGreater(compared["by_libpq"], 50)
        self.assertGreater(compared["by_sqlalchemy"], 200)
        self.assertGreater(compared["by_pymongo"], 30)

    @settings(max_examples=1_500, deadline=None, derandomize=True)
    @given(PARTS)
    def test_accepted_strings_mean_the_same_to_sqlalchemy(self, rest: str):
        text = f"mysql://{rest}"
        if sentence_for(text, "mysql") is None:
            self.assertEqual(by_sqlalchemy(text), parts_of(text))

    @settings(max_examples=1_500, deadline=None, derandomize=True)
    @given(PARTS)
    def test_accepted_strings_mean_the_same_to_pymongo(self, rest: str):
        text = f"mongodb://{rest}"
        if sentence_for(text, "mongodb") is None:
            self.assertIn(by_pymongo(text), (None, parts_of(text)))

    def test_rest_of_an_unescaped_password_is_not_named_as_an_option(self):
        for text in (
            f"postgresql://db/x?password=a&{SECRET}=b",
            f"postgresql://db/x?sslmode=require&{SECRET}=b&pwd=a",
            f"postgresql://me:a@db?{SECRET}=b@db/x",
            f"postgresql://me:a@db/x?{SECRET}=b@db/x",
        ):
            with self.subTest(text):
                self.assertNotIn(SECRET, sentence_for(text, "postgresql") or SECRET)
        self.assertIn("slmode", sentence_for("postgresql://db/x?slmode=a", "postgresql") or "")

    @settings(max_examples=3_000, deadline=None, derandomize=True)
    @given(AROUND, AROUND, st.sampled_from(["postgresql", "mysql", "mongodb", "mssql"]))
    def test_refusals_never_repeat_the_password(self, before: str, after: str, type_: str):
        for text in (
            f"{type_}://me:{before}{SECRET}{after}@db/x",
            f"{type_}://db/x?password={before}{SECRET}{after}",
            f"{before}{type_}://me:{SECRET}{after}@db/x?sslmod=a",
        ):
            sentence = sentence_for(text, type_)
            self.assertNotIn(SECRET, sentence or "")


# The host, or hosts, with ports, the database, the user and the password that others read, None
# if they do not read strings of this kind.


def parts_of(text: str) -> tuple[Any, ...]:
    url = parse(text)
    return (
        [(host, port) for host, port in url.hosts],
        unquote(url.path) or None,
        unquote(url.user) or None,
        unquote(url.password) or None,
    )


def by_libpq(text: str) -> tuple[Any, ...] | None:
    if not text.startswith(("postgresql://", "postgres://")) or "user=" in text:
        return None
    try:
        read = conninfo_to_dict(text)
    except ProgrammingError:
        return None
    host, port = comparable_host(str(read["host"])), read.get("port")
    names = ("dbname", "user", "password")
    return [(host, port and int(port))], *(read.get(name) for name in names)


def by_sqlalchemy(text: str) -> tuple[Any, ...] | None:
    if text.startswith("mongodb"):  # SQLAlchemy knows no lists of hosts
        return None
    try:
        read = make_url(text)
    except (ArgumentError, ValueError):
        return None
    host = comparable_host(unquote(read.host or ""))
    return [(host, read.port)], *(
        part or None for part in (read.database, read.username, read.password)
    )


def by_pymongo(text: str) -> tuple[Any, ...] | None:
    # Unlike the specification, pymongo takes + for a space, even outside of the options.
    if not text.startswith("mongodb://") or "+" in text.partition("?")[0]:
        return None
    try:
        read = _validate_uri(text, default_port=None, warn=True)
    except (PyMongoError, ValueError):
        return None
    names = ("database", "username", "password")
    return [*read["nodelist"]], *(read[name] or None for name in names)
