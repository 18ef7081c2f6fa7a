"""Compress large answers of the API for clients that accept gzip.

Django's GZipMiddleware weakens the `ETag`, which `If-Match` could then not name; ignores `q=0`; and
takes two and a half times the CPU (docs/benchmarks.md).
"""

import gzip
import re
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from rivergen.http.responses import SecretResponse

# The answer to a usual PATCH has 1.5 KiB. What is smaller than this takes one round trip anyway.
BYTES_MIN = 8 * 1024
LEVEL = 3
# An item of Accept-Encoding (RFC 9110, section 12.5.3); a malformed one counts as not accepted.
CODING = re.compile(r"([\w.*-]+)(?:\s*;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?", re.I | re.A)


class CompressionMiddleware(MiddlewareMixin):
    """Compress answers below /api/ of `BYTES_MIN` or more.

    The strong `ETag` stays: no cache stores these answers, so nothing mixes up their encodings. An
    answer that caches may store gets a weak one, as RFC 9110 (section 8.8.1) wants.

    Secrets that are shown once stay in clear: the size of a compressed answer tells whether some of
    its text repeats (BREACH).
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not request.path_info.startswith("/api/") or isinstance(response, SecretResponse):
            return response
        # A 304 has the headers that the 200 would have.
        is_known = response.status_code == HTTPStatus.NOT_MODIFIED
        if response.streaming or len(response.content) < BYTES_MIN and not is_known:
            return response
        patch_vary_headers(response, ["Accept-Encoding"])
        if not accepts_gzip(request.headers.get("Accept-Encoding", "")):
            return response
        if response.content:
            response.content = gzip.compress(response.content, LEVEL, mtime=0)
            response["Content-Length"] = str(len(response.content))
            response["Content-Encoding"] = "gzip"
        is_stored = "no-store" not in response.get("Cache-Control", "no-store")
        if is_stored and response.get("ETag", "").startswith('"'):
            response["ETag"] = f"W/{response['ETag']}"
        return response


def accepts_gzip(header: str) -> bool:
    """Return whether a client accepts gzip by name, and does not prefer clear text."""
    weights = {}
    for item in header.split(","):
        if match := CODING.fullmatch(item.strip()):
            weights[match[1].lower()] = float(match[2] or 1)
    weight = weights.get("gzip", weights.get("x-gzip", 0))
    return weight > 0 and weight >= weights.get("identity", 0)
