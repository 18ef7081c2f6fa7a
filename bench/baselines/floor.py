"""The lower bound in Python: a bare WSGI function and hand-written SQL."""

import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import jwt
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

SELECT = """
    SELECT data_source.* FROM datasources_datasource data_source
    JOIN organizations_membership membership USING (organization_id)
    JOIN organizations_user "user" ON "user".id = membership.user_id
    WHERE data_source.id = %s AND "user".id = %s AND "user".is_active
"""
LOCK = " FOR NO KEY UPDATE OF data_source"
LIST = """
    SELECT data_source.* FROM datasources_datasource data_source
    JOIN organizations_membership membership USING (organization_id)
    JOIN organizations_user "user" ON "user".id = membership.user_id
    WHERE "user".id = %s AND "user".is_active ORDER BY name, id LIMIT 50
"""
UPDATE = """
    UPDATE datasources_datasource
    SET description = %s, version = version + 1, updated_at = now(), updated_by_id = %s
    WHERE id = %s RETURNING *
"""
INSERT = """
    INSERT INTO datasources_datasourcerevision
    (data_source_id, version, changed_at, changed_by_id, origin, request_id, changes)
    VALUES (%s, %s, %s, %s, 'api', '', %s)
"""

_local = threading.local()


def database() -> psycopg.Connection[dict[str, Any]]:
    """Return the database connection of this thread."""
    if not hasattr(_local, "connection"):
        _local.connection = psycopg.connect(
            os.environ["DATABASE_URL"], row_factory=dict_row, autocommit=True
        )
    connection: psycopg.Connection[dict[str, Any]] = _local.connection
    return connection


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a WSGI request."""
    token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    claims = jwt.decode(token, os.environ["TOKEN_KEY"], ["HS256"], audience="rivergen")
    user_id = int(claims["user_id"])
    pk = environ["PATH_INFO"].removeprefix("/api/v1/data-sources").lstrip("/")
    data: Any
    if environ["REQUEST_METHOD"] == "PATCH":
        sent = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        data = update(int(pk), json.loads(sent)["description"], user_id)
    elif pk:
        data = database().execute(SELECT, (int(pk), user_id)).fetchone()
    else:
        data = database().execute(LIST, (user_id,)).fetchall()
    body = json.dumps({"success": True, "data": data}, default=str).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def update(pk: int, description: str, user_id: int) -> dict[str, Any] | None:
    """Store a description and a revision."""
    with database().transaction() as _, database().cursor() as cursor:
        before = cursor.execute(SELECT + LOCK, (pk, user_id)).fetchone()
        assert before is not None
        after = cursor.execute(UPDATE, (description, user_id, pk)).fetchone()
        assert after is not None
        changes = {"description": {"from": before["description"], "to": description}}
        cursor.execute(INSERT, (pk, after["version"], after["updated_at"], user_id, Jsonb(changes)))
    return after
