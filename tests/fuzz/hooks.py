"""Hooks of schemathesis that adjust generated data to rules beyond JSON Schema.

Whether a name is taken, or a URL fits the stored type, depends on more than the request. Data that
is valid except for such a rule is adjusted; invalid data is left alone.
"""

import atexit
import base64
import itertools
import json
import os
from pathlib import Path
from typing import Any

import django
import psycopg
import schemathesis
from hypothesis import strategies as st

django.setup()  # the validators' package imports models

from datasources.connection_tests.serializers import IDS_MAX  # noqa: E402
from datasources.connections.connectors import CONNECTORS  # noqa: E402
from datasources.connections.connectors.base import CREDENTIAL_FIELDS  # noqa: E402
from datasources.connections.testing.private_keys import (  # noqa: E402
    private_key,
    service_account,
)
from datasources.models.validators import names_secret  # noqa: E402
from tests.fuzz import NEWCOMER  # noqa: E402
from tests.fuzz.changes import changes  # noqa: E402
from tests.fuzz.tally import Tally  # noqa: E402

CURSOR = "a-cursor"
KEY = "a-key"
ANY_VERSION = "*"
CONNECTION_STRING = "postgresql://reader@db.example.com:5432/orders?sslmode=require"
NAME_MAX_LENGTH = 255
MAX_BIGINT = 2**63 - 1
WAITS = {str(seconds) for seconds in range(31)}
USERNAME_MAX_LENGTH = 150
SLUG_MAX_LENGTH = 63
HOST_MAX_LENGTH = 253
CONNECTION_STRING_MAX_LENGTH = 4096
SECRET_MAX_LENGTH = 65_536
WHOLE_FILES = {"service_account_json": service_account(), "ssh_private_key": private_key()}

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
HOST = st.one_of(
    st.builds("{}.example.com".format, WORD),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.just("bücher.example"),
)
count = itertools.count(1)

TALLY = Tally()
atexit.register(lambda: TALLY.save(Path(os.environ["FUZZ_FIGURES"])))
DATABASE = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True).cursor()
changes_before = changes(DATABASE)

schemathesis.openapi.format("connection-string", st.just(CONNECTION_STRING))
schemathesis.openapi.format("cursor", st.just(CURSOR))
schemathesis.openapi.format("entity-tag", st.just(ANY_VERSION))
schemathesis.openapi.format("host", HOST)
schemathesis.openapi.format("idempotency-key", st.just(KEY))
schemathesis.openapi.format("json-object", st.just(service_account()))
schemathesis.openapi.format("name", WORD)
schemathesis.openapi.format("password", st.builds("secret-{}".format, WORD))
schemathesis.openapi.format("object-path", st.lists(WORD, min_size=1, max_size=5).map("/".join))
schemathesis.openapi.format("tag", WORD)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the response, and check that a refusal changed nothing."""
    global changes_before
    number = changes(DATABASE)
    path = case.operation.path
    TALLY.check(
        f"{case.method.upper()} {path}",
        response.status_code,
        {name.title(): values[0] for name, values in response.headers.items()}
        | {"X-Request-ID": response.headers.get("x-request-id", [""])[0]},
        response.content,
        number != changes_before,
        case.as_curl_command(),
    )
    changes_before = number


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make valid values of a generated request fit the stored rows, so that it can succeed."""
    path = case.operation.path
    # As an `auth` callback, which runs last: an edited case would be validated again.
    kwargs["auth"] = lambda request: spare_caller(set_headers(request, fitting_headers(case)))
    if isinstance(case.query, dict):
        adjust_query(case.query, path)
    body = case.body
    if not isinstance(body, dict):
        return
    if body.get("requires_if_match") is True:
        body["requires_if_match"] = False  # true would refuse most later requests
    if path.endswith("/data-sources/apply"):
        make_declarations_fit(body)
        return
    if isinstance(body.get("updates"), list):
        make_updates_fit(body["updates"])
        return
    make_fields_fit(body)
    if type(body.get("version")) is int and (version := stored_version(case)) is not None:
        body["version"] = version
    if path.endswith("/members") and is_text(body.get("username"), USERNAME_MAX_LENGTH):
        body["username"] = NEWCOMER.format(next(count))
    if type(body.get("workspace_id")) is int:
        body["workspace_id"] = 1
    if path.endswith("/credentials"):
        # The first ids are one data source per type, in order; the types of later ones are unknown.
        types_by_id = dict(enumerate(CONNECTORS, start=1))
        data_source_id = str((case.path_parameters or {}).get("data_source_id"))
        type_name = types_by_id.get(int(data_source_id)) if data_source_id.isdecimal() else None
        remove_unfit_credentials(body, type_name)
    if path.endswith("/data-sources/test") and make_ids_fit(body, case.query):
        return
    if path.endswith("/data-sources/test"):
        if type(body.get("based_on")) is int:
            del body["based_on"]  # most types lack some of the other fields that were sent
        body.setdefault("type", "csv")
    if "/data-sources" in path and isinstance(body.get("credentials"), dict):
        remove_unfit_credentials(body["credentials"], str(body.get("type")))


def fitting_headers(case: Any) -> dict[str, str]:
    """Return a new idempotency key, and the stored version where `*` will not do."""
    sent = case.headers or {}
    headers = {}
    if sent.get("Idempotency-Key") == KEY:
        headers["Idempotency-Key"] = f"{KEY}-{next(count)}"
    query = case.query if isinstance(case.query, dict) else {}
    allows_disjoint = str(query.get("allow_disjoint")).lower() == "true"
    is_confirmation = case.operation.path.endswith("/credentials/confirm")
    if allows_disjoint or (is_confirmation and sent.get("If-Match") == ANY_VERSION):
        version = stored_version(case)
        if version is not None:
            headers["If-Match"] = f'"{version}"'
    return headers


def stored_version(case: Any) -> int | None:
    """Return the stored version of the data source in a path; None if there is none."""
    data_source_id = str((case.path_parameters or {}).get("data_source_id"))
    DATABASE.execute(
        "SELECT version FROM datasources_datasource WHERE id::text = %s",
        [data_source_id.replace("\0", "")],
    )
    row = DATABASE.fetchone()
    return row[0] if row else None


def set_headers(request: Any, headers: dict[str, str]) -> Any:
    """Set headers of a prepared request."""
    request.headers.update(headers)
    return request


def spare_caller(request: Any) -> Any:
    """Send elsewhere what would remove or change the caller's own membership (user 3)."""
    if request.method in ("DELETE", "PATCH") and request.url.partition("?")[0].endswith(
        "/members/3"
    ):
        request.url = request.url.replace("/members/3", "/members/0")
    return request


def adjust_query(query: dict[str, Any], path: str) -> None:
    """Use a stored cursor, and switch off parameters that would disturb other requests."""
    if query.get("cursor") == CURSOR:
        query["cursor"] = cursor_of(path, query)
    make_hosts_fit(query)
    # No worker runs, so waiting would time out.
    if str(query.get("wait")) in WAITS:
        query["wait"] = 0
    if str(query.get("verify")).lower() == "true":
        query["verify"] = "false"
    # It needs a version, which most generated requests do not name.
    if str(query.get("allow_disjoint")).lower() == "true":
        query["allow_disjoint"] = "false"
    # Pruning would delete the data sources that all other requests use.
    if str(query.get("prune")).lower() == "true":
        query["prune"] = "false"


def make_updates_fit(updates: list[Any]) -> None:
    """Make each of many updates name its own data source, and no version."""
    for number, update in enumerate(updates, start=1):
        if isinstance(update, dict):
            make_fields_fit(update)
            if type(update.get("id")) is int and update["id"] > 0:
                update["id"] = number
            if type(update.get("version")) is int and update["version"] > 0:
                del update["version"]


def make_declarations_fit(body: dict[str, Any]) -> None:
    """Make each declared data source a new one, without secrets, in the first workspace."""
    if is_text(body.get("organization"), SLUG_MAX_LENGTH):
        body["organization"] = "fuzz"
    declared = body.get("data_sources")
    for entry in declared if isinstance(declared, list) else ():
        if not isinstance(entry, dict):
            continue
        if isinstance(entry.get("workspace"), str):
            entry["workspace"] = None  # the workspace may have been renamed
        if isinstance(entry.get("credentials"), dict):
            entry["credentials"] = {
                field: value
                for field, value in entry["credentials"].items()
                if field not in CREDENTIAL_FIELDS or not (value is None or isinstance(value, str))
            }
        entry.setdefault("type", "csv")
        make_fields_fit(entry)


def make_ids_fit(body: dict[str, Any], query: Any) -> bool:
    """Leave valid ids alone in the body, each once; return whether there are any."""
    ids: Any = body.get("ids")
    is_list = isinstance(ids, list) and 1 <= len(ids) <= IDS_MAX
    if is_list:
        # An id beyond bigint does not fit the description, but is 404 in its place, as in a path.
        body["ids"] = ids = [0 if is_positive(one) and one > MAX_BIGINT else one for one in ids]
    if not is_list or not all(is_positive(one) for one in ids):
        return False
    body.clear()
    body["ids"] = [*dict.fromkeys(int(one) for one in ids)]
    if isinstance(query, dict):
        query.pop("wait", None)
    return True


def is_positive(value: Any) -> bool:
    """Return whether JSON Schema takes a value for a positive integer."""
    is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return is_whole and value > 0


def make_fields_fit(body: dict[str, Any]) -> None:
    """Make the valid fields of a body fit each other."""
    for field, value in body.items():
        # JSON Schema counts 5.0 as an integer; the contract does not.
        if isinstance(value, float) and value.is_integer():
            body[field] = int(value)
    if is_valid_name(body.get("name"), NAME_MAX_LENGTH):
        body["name"] = f"{next(count)} {body['name']}"[:NAME_MAX_LENGTH].strip()
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = storable(body["metadata"])
    make_hosts_fit(body)
    url = body.get("connection_string")
    if url == CONNECTION_STRING or is_filler(url, CONNECTION_STRING_MAX_LENGTH):
        body["connection_string"] = CONNECTION_STRING if body.get("type") == "postgresql" else None
    if body.get("use_ssh_tunnel") is True:
        body["use_ssh_tunnel"] = False


def make_hosts_fit(fields: dict[str, Any]) -> None:
    """Replace what was generated for its length only by a host name of that length."""
    for field in ("host", "ssh_host"):
        if is_filler(fields.get(field), HOST_MAX_LENGTH):
            fields[field] = (("a" * 60 + ".") * 5)[: len(fields[field]) - 1] + "a"


def remove_unfit_credentials(credentials: dict[str, Any], type_name: str | None) -> None:
    """Remove valid credentials that a data source of this type does not take."""
    fitting = CONNECTORS[type_name].credential_fields if type_name in CONNECTORS else ()
    for field in CREDENTIAL_FIELDS:
        value = credentials.get(field)
        is_generated = field == "ssh_private_key" and is_text(value, SECRET_MAX_LENGTH)
        if field in WHOLE_FILES and (is_generated or is_filler(value, SECRET_MAX_LENGTH)):
            credentials[field] = WHOLE_FILES[field]
        is_valid = value is None or is_text(value, SECRET_MAX_LENGTH)
        if field not in fitting and field in credentials and is_valid:
            del credentials[field]


def is_text(value: Any, max_length: int) -> bool:
    """Return whether the value is text that is valid unless a stored row conflicts."""
    return isinstance(value, str) and 0 < len(value) <= max_length and "\0" not in value


def is_valid_name(value: Any, max_length: int) -> bool:
    """Return whether the value is a name that is valid unless a stored row conflicts."""
    return isinstance(value, str) and is_text(value.strip(), max_length)


def storable(value: Any) -> Any:
    """Remove NUL and names of secrets at any depth, which JSON Schema cannot forbid."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {
            storable(key): storable(item) for key, item in value.items() if not names_secret(key)
        }
    return value


def is_filler(value: Any, max_length: int) -> bool:
    """Return whether a string was generated for its length only: schemathesis fills with zeros."""
    return isinstance(value, str) and len(value) <= max_length and {*value} == {"0"}


def cursor_of(path: str, query: dict[str, Any]) -> str:
    """Return a cursor that the list at this path could have returned for this query."""
    value: Any
    ordering = query.get("ordering")
    if path.endswith("/schema"):
        return encoded(f"1.{query.get('snapshot', 1)}")
    if path.endswith("/schema/changes"):
        return encoded(f"1.{query.get('from', 0)}.{query.get('to', 1)}")
    if path.endswith("/history"):
        field, value = "version", 1
    elif path.endswith("/snapshots"):
        field, value = "number", 1
    elif str(ordering).endswith("_at"):
        field, value = str(ordering).removeprefix("-"), "2026-01-01T00:00:00+00:00"
    elif "{" in path:
        field, value = "id", 1
    else:
        field, value = "name", "name"
    return encoded(json.dumps([field, False, value, 1]))


def encoded(text: str) -> str:
    """Return the text of a cursor as it is encoded in a URL."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
