"""The description of the credential endpoints in openapi.json."""

from typing import Any

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.credentials.serializers import CredentialsSerializer, CredentialsUpdateSerializer
from datasources.examples import STALE, UPDATED
from datasources.openapi import IF_MATCH, IF_MATCH_READ, IF_MATCH_REQUIRED
from organizations.openapi import HISTORY_QUOTA
from rivergen.http.openapi.examples import MERGE_PATCH, answer, body

UNSET = {"is_set": False, "confirmed": False, "set_at": None, "set_by_user_id": None}
SET = {
    "is_set": True,
    "confirmed": True,
    "set_at": UPDATED["updated_at"],
    "set_by_user_id": 1,
}
STATE = {"username": "reader", **dict.fromkeys(SECRET_FIELDS, UNSET), "password": SET}
ENTERED = {
    "username": {"from": None, "to": "reader"},
    "password": {"from": "unset", "to": "set"},
    "credentials_status": {"from": "unset", "to": "set"},
}
CONFIRMED = {
    "password": {"from": "unconfirmed", "to": "confirmed"},
    "credentials_status": {"from": "unconfirmed", "to": "set"},
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get the state of the credentials",
    "description": "Return the username, and which secrets are set, by whom and when, but never a "
    "secret. Any member may ask.",
    "examples": (answer(STATE, "Credentials retrieved successfully"), STALE),
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 412),
    "headers": ("ETag",),
    "parameters": (IF_MATCH_READ,),
}
REPLACE: dict[str, Any] = {
    "summary": "Replace the credentials",
    "description": "Store the given credentials, clear all others, and return their state. Needs "
    "the role editor. Secrets are encrypted, bound to the destination as it is now, and never "
    "returned.",
    "changes": True,
    "request": CredentialsUpdateSerializer,
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 409, 412, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
    "examples": (
        body("A username and a password", {"username": "reader", "password": "correct horse"}),
        answer(STATE, "Credentials replaced successfully", changes=ENTERED),
        HISTORY_QUOTA,
        STALE,
    ),
}
UPDATE: dict[str, Any] = {
    **REPLACE,
    "summary": "Update some of the credentials",
    "description": "Store the given credentials, keep all others, and return their state. Null "
    "clears one. Needs the role editor. Entering one secret does not confirm another.",
    "examples": (
        body("A username and a new password", {"username": "reader", "password": "battery staple"}),
        body(
            "A username without a password", {"username": "reader", "password": None}, MERGE_PATCH
        ),
        answer(STATE, "Credentials updated successfully", changes=ENTERED),
        HISTORY_QUOTA,
        STALE,
    ),
}
CLEAR: dict[str, Any] = {
    "summary": "Clear the credentials",
    "operation_id": "clearCredentials",
    "description": "Delete the username and all secrets. Needs the role editor.",
    "examples": (HISTORY_QUOTA, STALE),
    "status": 204,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
}
CONFIRM: dict[str, Any] = {
    "summary": "Confirm the credentials",
    "description": "Allow all unconfirmed secrets to be sent to the destination as it is in the "
    "version that `If-Match` names, and return their state. Needs the role admin. Look at that "
    "version first: it decides who receives the secrets.",
    "examples": (answer(STATE, "Credentials confirmed successfully", changes=CONFIRMED), STALE),
    "changes": True,
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH_REQUIRED,),
}
