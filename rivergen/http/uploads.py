"""Multipart forms: no page takes files, so those that a client sends stay small and in memory."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import MemoryFileUploadHandler


class BoundedUploadHandler(MemoryFileUploadHandler):
    """Refuse a form above the limit of all bodies: Django's own limit does not count files.

    Django reads a form, and stores its files, before it knows who sent it.
    """

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, *options: Any
    ) -> None:
        if content_length > settings.REQUEST_BODY_MAX_BYTES:
            raise RequestDataTooBig("The form is larger than REQUEST_BODY_MAX_BYTES.")
        super().handle_raw_input(input_data, META, content_length, *options)
