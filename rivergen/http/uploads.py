"""Multipart forms: no page takes files, so those that a client sends stay small and in memory."""

from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError

# Django reads so many bytes of the headers of a part.
HEADERS_MAX_BYTES = 1024
# Browsers send a name, a file name and a type.
PARAMETERS_MAX = 16


class BoundedUploadHandler(MemoryFileUploadHandler):
    """Refuse a form above the limit of all bodies: Django's own limit does not count files.

    Django reads a form, and stores its files, before it knows who sent it.
    """

    def handle_raw_input(  # type: ignore[override]  # the types say that the boundary is text
        self,
        input_data: Any,
        META: Any,
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> Any:
        """Return the fields and files. Raises RequestDataTooBig, MultiPartParserError (400)."""
        if content_length > settings.REQUEST_BODY_MAX_BYTES:
            raise RequestDataTooBig("The form is larger than REQUEST_BODY_MAX_BYTES.")
        body = input_data.read()
        check_part_headers(body, boundary)
        handlers = [MemoryFileUploadHandler(self.request)]
        return MultiPartParser(META, BytesIO(body), handlers, encoding).parse()


def check_part_headers(body: bytes, boundary: bytes) -> None:
    """Raise MultiPartParserError (400) if the headers of a part have too many parameters.

    The parser of the standard library counts all quotes again before each semicolon.
    """
    for part in body.split(b"--" + boundary):
        headers, _, _ = part[:HEADERS_MAX_BYTES].partition(b"\r\n\r\n")
        if headers.count(b";") > PARAMETERS_MAX:
            raise MultiPartParserError("The headers of a part have too many parameters.")
