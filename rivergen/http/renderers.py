"""Render responses as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


class RenderedJSON:
    """A part of a response that is JSON already.

    A response with many large parts takes less memory if each is rendered as soon as it is known.
    """

    def __init__(self, data: Any) -> None:
        # A copy: orjson's own buffer is many times as large.
        self.json = bytes(memoryview(dumps(data)))


class PartsEncoder(JSONEncoder):
    """DRF's encoder, which also takes parts that are rendered already."""

    def default(self, obj: Any) -> Any:
        return json.loads(obj.json) if isinstance(obj, RenderedJSON) else super().default(obj)


class FastJSONRenderer(JSONRenderer):
    """Write the same JSON as DRF, a list in a tenth of the time."""

    encoder_class = PartsEncoder

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        indent = self.get_indent(accepted_media_type or "", renderer_context or {})
        if data is None or indent is not None:
            return super().render(data, accepted_media_type, renderer_context)
        return dumps(data)


def dumps(data: Any) -> bytes:
    """Return data as JSON without spaces."""
    try:
        return orjson.dumps(data, default=encode)
    except TypeError:  # metadata may hold integers of more than 64 bits
        return JSONRenderer.render(FastJSONRenderer(), data)


def encode(value: Any) -> Any:
    """Return what orjson writes for a value of a type that it does not know."""
    is_rendered = isinstance(value, RenderedJSON)
    return orjson.Fragment(value.json) if is_rendered else JSONEncoder().default(value)
