"""The endpoint that returns openapi.json."""

import functools
import hashlib
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from rivergen.http.input import check_parameters, is_known
from rivergen.http.renderers import FastJSONRenderer


class OpenAPIView(APIView):
    """`GET /api/v1/openapi.json`: OpenAPI 3.1, not wrapped in the envelope."""

    http_method_names = ["get", "head"]
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """Return the description of the API; 304 if `If-None-Match` names its `ETag`."""
        check_parameters(request)
        body, etag = rendered_document()
        if is_known(request, etag):
            response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
        else:
            response = HttpResponse(body, content_type="application/json")
        response["ETag"], response["Cache-Control"] = etag, "no-cache"
        patch_vary_headers(response, ["Accept-Encoding"])  # a 304 has the headers of the 200
        return response


@functools.cache
def rendered_document() -> tuple[bytes, str]:
    """Return the bytes of the description, and their entity tag; rendered once per process."""
    body = FastJSONRenderer().render(document())
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@functools.cache
def document() -> Any:
    """Return the description, built once per process: the routes do not change."""
    return SchemaGenerator().get_schema(request=None, public=True)
