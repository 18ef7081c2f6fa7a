"""The inputs of `bench.worst_inputs`: for each parser a harmless text and the worst known ones."""

import base64
import json
from typing import Any
from urllib.parse import quote_plus

MIB = 1024 * 1024
HEADER = 8_190  # the longest line that gunicorn takes
METADATA = 65_536
CONNECTION_STRING = 4_096

Texts = tuple[tuple[str, str], dict[str, str]]
"""The harmless text with its name, and the worst texts by name."""

SOURCE: dict[str, Any] = {
    "name": "Orders",
    "type": "postgresql",
    "host": "db.example.com",
    "port": 5432,
    "description": "The orders of the year",
    "tags": ["sales", "eu"],
    "use_ssh_tunnel": False,
}


def filled(start: str, unit: str, end: str, size: int = MIB) -> str:
    """Return `start`, `unit` as often as it fits, and `end`, in at most `size` bytes."""
    fixed = len(start.encode()) + len(end.encode())
    return start + unit * ((size - fixed) // len(unit.encode())) + end


def numbered(start: str, unit: str, end: str, size: int = MIB) -> str:
    """Return the same with `{}` in `unit` counted up."""
    count = (size - len(start) - len(end)) // len(unit.format(100_000))
    return start + "".join(map(unit.format, range(100_000, 100_000 + count))) + end


def json_list(unit: str, size: int = MIB) -> str:
    """Return an object with a list of as many equal values as fit."""
    return filled('{"a": [', f"{unit},", f"{unit}]}}", size)


def json_bodies() -> Texts:
    """Return bodies of JSON."""
    return ("a list of data sources", json_list(json.dumps(SOURCE))), {
        "different names, the last one twice": numbered("{", '"{}":0,', '"100000":0,"x":0,"x":0}'),
        "numbers that stand for 301 digits": json_list("1e300"),
        "the same, with an escape": filled('{"b": "\\u0041", "a": [', "1e300,", "1]}"),
        "integers of 4,300 digits": json_list("9" * 4_300),
        "empty arrays": json_list("[]"),
        "objects with one empty name": json_list('{"":0}'),
        "as many empty arrays as are taken": filled('{"a": [' + "[]," * 99_000, "0,", "0]}"),
        "as many arrays, nested 900 deep": filled(
            '{"a": [' + ("[" * 900 + "]" * 900 + ",") * 110, "0,", "0]}"
        ),
        "arrays, nested 900 deep": json_list("[" * 900 + "]" * 900),
        "arrays, nested without end": "[" * MIB,
        "unknown names": numbered("{", '"usernames{}":0,', '"password":""}'),
        "a name of 1 MiB": filled('{"', "aA", '": 0}'),
        "a user name of 1 MiB": filled('{"username": "', "\u0315\u0300", '"}'),
        "escaped pairs of surrogates": filled('{"username": "', "\\ud83d\\ude00", '"}'),
    }


def encoded(text: str) -> str:
    """Return text in the base64 of tokens and cursors."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def token(header: str) -> str:
    """Return a token with a header of its own, and a signature that fits nothing."""
    return f"Bearer {encoded(header)}.{encoded('{}')}.{encoded('s' * 32)}"


def headers() -> list[tuple[str, str, Texts]]:
    """Return headers that are read before the caller is known: name, environ key, texts."""
    size = HEADER
    cookies = ("ordinary cookies", filled("csrftoken=a", "; theme=dark-and-blue", "", size))
    bad_cookies = {
        "a quoted one of backslashes": filled('a="', "\\", '"', size),
        "a quoted one of escapes": filled('a="', "\\a", '"', size),
        "empty ones": filled("", ";a=", "", size),
    }
    types = ("one with a long parameter", filled('application/json; a="', "a", '"', size))
    bad_types = {
        "semicolons in quotes": filled('application/json; a="', ";", '"', size),
        "parameters": filled("application/json", ";a", "", size),
    }
    accepted = ("ordinary media types", filled("*/*", ", application/json;q=0.5", "", size))
    bad_accepted = {
        "media types of one letter": filled("*/*", ",a", "", size),
        "semicolons": filled("*/*", ";", "", size),
    }
    harmless_token = token(filled('{"alg": "HS256", "a": "', "a", '"}', size // 2))
    bad_tokens = {
        "a header nested without end": token("[" * (size // 2)),
        "a header of large numbers": token(json_list("1e300", size // 2)),
        "dots": filled("Bearer ", ".", "", size),
    }
    return [
        ("Cookie", "HTTP_COOKIE", (cookies, bad_cookies)),
        ("Content-Type", "CONTENT_TYPE", (types, bad_types)),
        ("Accept", "HTTP_ACCEPT", (accepted, bad_accepted)),
        ("Authorization", "HTTP_AUTHORIZATION", (("a long token", harmless_token), bad_tokens)),
        (
            "X-Forwarded-For",
            "HTTP_X_FORWARDED_FOR",
            (
                ("addresses", filled("192.0.2.1", ", 192.0.2.1", "", size)),
                {"commas": filled("", ",", "", size), "colons": filled("", ":", "", size)},
            ),
        ),
    ]


def forms() -> list[tuple[str, str, Texts]]:
    """Return bodies of the admin's sign-in page: name, media type, texts."""
    form = "application/x-www-form-urlencoded"
    multipart = "multipart/form-data; boundary=b"
    part = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    parameters = part.strip().removesuffix('a"') + ";" * 900
    return [
        (
            "form",
            form,
            (
                (
                    "data sources in JSON",
                    filled("username=a&metadata=", quote_plus(json.dumps(SOURCE)), ""),
                ),
                {
                    "fields": filled("", "a&", ""),
                    "escapes": filled("username=", "%41", ""),
                    "a name of combining characters": filled("username=", "\u0315\u0300", ""),
                },
            ),
        ),
        (
            "multipart form",
            multipart,
            (
                ("a long password", filled(part, "a", "\r\n--b--")),
                {
                    "parts": filled("", f"{part}a\r\n", "--b--"),
                    "line breaks": filled(part, "\r\n", "\r\n--b--"),
                    "beginnings of boundaries": filled(part, "\r\n--", "\r\n--b--"),
                    "headers of a part": filled("--b\r\n", "a: b\r\n", "\r\n\r\na\r\n--b--"),
                    "parameters of parts": filled("", f"{parameters}\r\n\r\na\r\n", "--b--"),
                },
            ),
        ),
    ]


def fields() -> Texts:
    """Return bodies of a PATCH whose fields are too long or unknown."""
    return ("a list of data sources", json_list(json.dumps(SOURCE))), {
        "a host of 1 MiB in another script": filled('{"host": "', "ä", '"}'),
        "a host of combining characters": filled('{"host": "', "\u0315\u0300", '"}'),
        "a path of 1 MiB": filled('{"file_path": "', "a/", '"}'),
        "a connection string of 1 MiB": filled('{"connection_string": "x://a/b?', "a=b&", '"}'),
        "tags": filled('{"tags": [', '"a",', '"a"]}'),
        "names like the known ones": numbered("{", '"schema_refresh_{}":0,', '"port":1}'),
        "a name of many words": filled('{"', "aA", '": 0}'),
        "a read-only field of large numbers": filled('{"id": [', "1e300,", "1]}"),
        "a read-only field of empty arrays": filled(
            '{"last_test": {"a": [' + "[]," * 99_000, "0,", "0]}}"
        ),
    }


def updates(ids: list[int]) -> Texts:
    """Return bodies that update many data sources."""

    def body(fields: Any) -> str:
        return json.dumps({"updates": [{"id": pk, **fields(pk)} for pk in ids]})

    tags = [f"tag {number}" for number in range(50)]
    return ("tags and descriptions", body(lambda pk: {"description": "d" * 4_000, "tags": tags})), {
        "names like the known ones": body(
            lambda pk: {f"schema_refresh_interva{pk}{number}": 0 for number in range(50)}
        ),
        "metadata of empty arrays": body(lambda pk: {"metadata": {"a": [[]] * 490}}),
        "versions that never were": body(lambda pk: {"if_match": ",".join(['"9"'] * 800)}),
        "the same id": json.dumps({"updates": [{"id": 1}] * len(ids)}),
    }


def updates_of_large(text: list[int], arrays: list[int]) -> Texts:
    """Return bodies that change nothing of data sources with as much metadata as possible."""

    def body(ids: list[int]) -> str:
        return json.dumps({"updates": [{"id": pk} for pk in ids]})

    return ("metadata of one text", body(text)), {"metadata of empty arrays": body(arrays)}


def metadata() -> Texts:
    """Return bodies of a PATCH with as much metadata as may be stored."""
    size = METADATA
    deep = '{"a":' * 17
    return (
        "names and sentences",
        numbered('{"metadata": {', '"key {}": "The orders of the year",', '"a": 0}}', size),
    ), {
        "zeros, 18 deep": filled(f'{{"metadata": {deep}[', "0,", f"0]{'}' * 18}", size),
        "empty arrays": filled('{"metadata": {"a": [', "[],", "[]]}}", size),
        "short names": numbered('{"metadata": {', '"{}":0,', '"a": 0}}', size),
        "a name of many words": filled('{"metadata": {"', "aA", '": 0}}', size),
        "numbers that stand for 301 digits": filled('{"metadata": {"a": [', "1e300,", "1]}}", size),
    }


def merge_patches() -> Texts:
    """Return merge patches of a whole body."""
    deep = '{"a":' * 17
    return (
        "names and sentences",
        numbered('{"metadata": {', '"key {}": "The orders of the year",', '"a": 0}}'),
    ), {
        "zeros, 18 deep": filled(f'{{"metadata": {deep}[', "0,", f"0]{'}' * 18}"),
        "nulls": numbered('{"metadata": {', '"{}":null,', '"a": 0}}'),
        "empty objects": numbered('{"metadata": {', '"{}":{{}},', '"a": 0}}'),
    }


def connection_strings() -> Texts:
    """Return bodies of a PATCH with a connection string of the permitted length."""
    size = CONNECTION_STRING
    start = '{"connection_string": "bigquery://'
    return ("a long path", filled(f"{start}db.example.com/", "a", '"}', size)), {
        "options": numbered(f"{start}a/b?", "a{}=b&", 'a=b"}', size),
        "equal options": filled(f"{start}a/b?", "a&", 'a"}', size),
        "escapes": filled(f"{start}a/", "%41", '"}', size),
        "at signs": filled(start, "@", 'a/b"}', size),
        "a host in another script": filled(start, "ä", '/b"}', size),
        "a password of stars": filled(f"{start}a:", "*", '@b/c"}', size),
    }


def secrets() -> Texts:
    """Return bodies with secrets of the permitted length."""
    size = METADATA
    start = '{"service_account_json": "'
    key = '{"ssh_private_key": "-----BEGIN OPENSSH PRIVATE KEY-----'
    return ("a key file", filled(f'{start}{{\\"a\\": \\"', "a", '\\"}"}', size)), {
        "a key file of large numbers": filled(f'{start}{{\\"a\\": [', "1e300,", '1]}"}', size),
        "a key file, nested without end": filled(start, "[", '"}', size),
        "a key that asks for many rounds": filled(key, "\\nAAAA", '"}', size),
        "a password of stars": filled('{"password": "', "*", 'a"}', size),
        "a password of braces": filled('{"password": "', "{{", '"}', size),
    }


def entry(number: int) -> str:
    """Return the declaration of one data source in YAML."""
    lines = [f"- name: Orders {number}", *(f"  {key}: {SOURCE[key]}" for key in ("type", "host"))]
    return "\n".join([*lines, "  description: The orders of the year", "  tags: [sales, eu]", ""])


def yaml_documents() -> Texts:
    """Return documents in YAML."""
    entries = "".join(map(entry, range(400)))
    notes = filled("  description: '", "The orders of the year. ", "'\n", MIB - len(entries) - 40)
    ordinary = f"data_sources:\n{entries}- name: Notes\n{notes}"
    names = "".join(f"- name: a{number}\n  shema_refresh: 1\n" for number in range(500))
    many = numbered(f"data_sources:\n{names}", "  schema_refresh_{}: 1\n", "")
    source = json.dumps(SOURCE)
    return ("data sources, one to a line", filled("data_sources:\n", f"- {source}\n", "")), {
        "data sources and a long text": ordinary,
        "words": filled("[", "a,", "a]"),
        "words, nested 250 deep": filled("[" * 250, "a,", "a" + "]" * 250),
        "dashes": filled("", "-\n", ""),
        "keys": numbered("", "k{}:\n", ""),
        "nested without end": "[" * MIB,
        "numbers that stand for 301 digits": filled("[", "1e300,", "1]"),
        "anchors and aliases": filled("a: &a [a]\nb: [", "*a,", "*a]"),
        "unknown keys like the known ones": many,
        "comments": filled("data_sources: []\n", "#\n", ""),
        "directives for tags": numbered("", "%TAG !{}! b\n", "--- a\n"),
        "as many words as are taken": filled(f"- [{'a,' * 190_000}]\n- ", "b", "\n"),
        "a text over many lines": filled("a: ", "b\n ", ""),
    }


def declarations() -> Texts:
    """Return declarations in JSON."""
    reference = filled("${file:", "a/", "}", MIB - 200)
    credentials = {"name": "a", "type": "postgresql", "credentials": {"password": reference}}
    unknown = {f"schema_refresh_{number}": 1 for number in range(50)}
    mistakes = [{"name": f"a{number}", **unknown} for number in range(500)]
    return (
        "data sources",
        filled('{"data_sources": [', f"{json.dumps(SOURCE)},", f"{json.dumps(SOURCE)}]}}"),
    ), {
        "a reference of 1 MiB": json.dumps({"data_sources": [credentials]}),
        "unknown keys like the known ones": json.dumps({"data_sources": mistakes})[:MIB],
    }


def queries() -> Texts:
    """Return query strings."""
    size = HEADER - 40
    bomb = encoded("[" * (size * 3 // 4))
    return ("a long search", filled("search=", "a", "", size)), {
        "unknown parameters": numbered("", "type{}=&", "a=", size),
        "empty parameters": filled("", "a&", "a", size),
        "tags": filled("", "tag=a&", "tag=b", size),
        "words": f"search={'+'.join('abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx')}",
        "a cursor, nested without end": f"cursor={bomb}",
        "a cursor with a large number": "cursor=" + encoded("[" + "9" * 4_300 + "]"),
        "a time of many digits": filled("updated_after=2024-12-01T11:00:00.", "1", "Z", size),
    }


def member_headers() -> list[tuple[str, str, str, Texts]]:
    """Return headers of members' requests: name, method, environ key, texts."""
    size = HEADER
    tag = filled('"', "a", '"', size)
    bad_tags = {
        "entity tags": filled("", '"",', '"a"', size),
        "quotes": filled("", '"', "", size),
        "commas": filled("", ",", "", size),
    }
    key = filled("", "a", "", size)
    bad_keys = {
        "escaped quotes": filled('"', '\\"', '"', size),
        "an open quote": filled('"', "a", "", size),
        "spaces": filled("", " ", "", size),
    }
    return [
        ("If-Match", "PATCH", "HTTP_IF_MATCH", (("a long tag", tag), bad_tags)),
        ("If-None-Match", "GET", "HTTP_IF_NONE_MATCH", (("a long tag", tag), bad_tags)),
        ("Idempotency-Key", "PATCH", "HTTP_IDEMPOTENCY_KEY", (("a long key", key), bad_keys)),
        ("X-Request-ID", "GET", "HTTP_X_REQUEST_ID", (("a long id", key), bad_keys)),
    ]


def messages() -> Texts:
    """Return what a child of the sandbox sends: lines of JSON."""

    def piece(part: str, size: int) -> str:
        return json.dumps({"part": part, "data": base64.b64encode(bytes(size)).decode()}) + "\n"

    progress = json.dumps({"tables_read": 1, "tables_total": 2}) + "\n"
    return ("progress of a reading", filled("", progress, "")), {
        "pieces of one byte": filled("", piece("names", 1), ""),
        "blocks of one byte": filled(piece("new block", 1), piece("block", 1), ""),
        "large pieces": filled("", piece("names", 32 * 1024), ""),
    }


def column_types() -> Texts:
    """Return types of columns."""
    return ("a long word", filled("", "a", "")), {
        "spaces": filled("a", " ", ""),
        "opening brackets": filled("", "(", ""),
        "opening and closing brackets": filled("", "(<>)", "("),
    }
