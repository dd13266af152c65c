"""The one error of the serving interfaces: a status of gRPC, which has an HTTP code, and a sentence."""

from __future__ import annotations

from typing import Literal

Status = Literal[
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
]
HTTP_CODES: dict[str, int] = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "INTERNAL": 500,
}
"""TensorFlow Serving's table, `tensorflow_serving/model_servers/http_server.cc`."""
_LONGEST = 500


class Refusal(Exception):  # noqa: N818 - an answer to a request; the server goes on
    """What a request is answered with instead of predictions."""

    def __init__(self, status: Status, message: str, *, http: int | None = None) -> None:
        """`http` replaces the code that belongs to `status`, for what gRPC does not know, such as 413."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.http = http or HTTP_CODES[status]


def shown(value: object) -> str:
    """A value of the request, as error messages quote it: at most a few hundred characters of it."""
    import json

    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
