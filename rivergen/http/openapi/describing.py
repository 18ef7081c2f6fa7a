"""Describe the methods of views: what they take, return and refuse, with examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from rivergen.http.openapi.errors import FAILURE_SERIALIZERS, ErrorResponseSerializer
from rivergen.http.openapi.examples import FAILURE_EXAMPLES, of_status
from rivergen.http.openapi.words import FAILURES, SUCCESS_HEADERS

# The failures that every route may return.
COMMON_FAILURES = (400, 405, 406, 408, 429, 500, 503)
BODY_FAILURES = (413, 415)


class Success(OpenApiResponse):
    """The description of a success; `changes`: it has `changes` beside `data`."""

    def __init__(
        self,
        response: Any,
        description: str,
        examples: Sequence[OpenApiExample] = (),
        *,
        changes: bool = False,
    ) -> None:
        super().__init__(response, description, examples)
        self.changes = changes


def describe(
    summary: str,
    description: str = "",
    *,
    request: Any = None,
    response: Any = None,
    many: bool = False,
    status: int = 200,
    errors: Sequence[int] = (),
    failures: Mapping[int, Any] | None = None,
    headers: Sequence[str] = (),
    parameters: Sequence[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] = (),
    not_modified: bool = False,
    ok: Any = None,
    changes: bool = False,
    operation_id: str | None = None,
) -> Callable[[Any], Any]:
    """Describe a view method: `response` is the serializer of its `data`, `errors` its failures.

    The failures that every route may return are added. `headers` names the headers of a success,
    of `ETag` and `Location`. `ok` is the serializer of a 200, which the method may return instead
    of `status`. With `changes`, a success has `changes` beside `data`. Each of the `examples`
    belongs to the request, or to the responses with its statuses. `failures` are the serializers
    of failures that have more members than others, by status.
    """
    answers = [example for example in examples if example.response_only]

    def success(text: str, status: int, body: Any) -> OpenApiResponse:
        return Success(body, text, of_status(status, answers), changes=changes)

    successes = {status: success("Success.", status, response(many=True) if many else response)}
    if ok:
        successes[200] = success("Success, at once.", 200, ok)
    if not_modified:
        successes[304] = OpenApiResponse(None, "It reads exactly as it did with this `ETag`.")
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        request=request,
        parameters=[*parameters, *header_parameters(headers, status, not_modified)],
        examples=[example for example in examples if not example.response_only],
        responses=successes
        | failure_responses(errors, answers, failures or {}, has_body=request is not None),
    )


def header_parameters(
    names: Sequence[str], status: int, not_modified: bool
) -> list[OpenApiParameter]:
    """Return the headers of a success; a 304 has its `ETag`, too."""
    return [
        OpenApiParameter(
            name,
            str,
            OpenApiParameter.HEADER,
            response=[status, 304] if not_modified and name == "ETag" else [status],
            required=True,
            description=SUCCESS_HEADERS[name],
        )
        for name in names
    ]


def failure_responses(
    errors: Sequence[int],
    examples: Sequence[OpenApiExample],
    failures: Mapping[int, Any],
    *,
    has_body: bool,
) -> dict[int, OpenApiResponse]:
    """Return the failures of a route, by status: its own, and those that every route may return."""
    statuses = {*errors, *COMMON_FAILURES, *(BODY_FAILURES if has_body else ())}
    shown = [*examples, *FAILURE_EXAMPLES]
    serializers = {**FAILURE_SERIALIZERS, **failures}
    return {
        status: OpenApiResponse(
            serializers.get(status, ErrorResponseSerializer),
            FAILURES[status],
            of_status(status, shown),
        )
        for status in sorted(statuses)
    }
