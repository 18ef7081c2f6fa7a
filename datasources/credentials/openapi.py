"""The description of the credential endpoints in openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

from datasources.credentials.serializers import CredentialsSerializer, CredentialsUpdateSerializer
from datasources.openapi import IF_MATCH, IF_MATCH_READ, IF_MATCH_REQUIRED

RETRIEVE: dict[str, Any] = {
    "summary": "Get the state of the credentials",
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 412),
    "headers": ("ETag",),
    "parameters": (IF_MATCH_READ,),
}
REPLACE: dict[str, Any] = {
    "summary": "Replace the credentials",
    "changes": True,
    "request": CredentialsUpdateSerializer,
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 409, 412, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
    "examples": (OpenApiExample("A username", {"username": "reader"}, request_only=True),),
}
UPDATE: dict[str, Any] = {
    **REPLACE,
    "summary": "Update some of the credentials",
}
CLEAR: dict[str, Any] = {
    "summary": "Clear the credentials",
    "operation_id": "clearCredentials",
    "status": 204,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
}
CONFIRM: dict[str, Any] = {
    "summary": "Confirm the credentials",
    "changes": True,
    "response": CredentialsSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH_REQUIRED,),
}
