"""Parser of request bodies in YAML."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from datasources.declarations.problems import DeclarationError
from datasources.declarations.text import Document
from rivergen.http.parsers import read_text

# Each takes about a kilobyte while it is read. A document of 1 MiB usually has half as many.
VALUES_MAX = 200_000


class YAMLParser(BaseParser):
    """Parse `application/yaml` (RFC 9512) into a Document.

    Raises PayloadTooLarge (413), and ParseError (400) for a body outside the accepted subset.
    """

    media_type = "application/yaml"

    def parse(  # type: ignore[override]
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Document:
        try:
            return Document(read_text(stream), VALUES_MAX)
        except DeclarationError as error:
            raise ParseError(str(error)) from None
