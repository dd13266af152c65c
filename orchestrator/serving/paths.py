"""The addresses of TensorFlow Serving's REST interface.

The patterns are those of `tensorflow_serving/model_servers/http_rest_api_util.cc`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from orchestrator.serving.refusal import Refusal, shown

METRICS = "/monitoring/prometheus/metrics"
_WHICH = r"(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_WHICH}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(rf"/v1/models(?:/([^/:]+))?{_WHICH}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_LARGEST_VERSION = (1 << 63) - 1


@dataclass(frozen=True)
class Wanted:
    """The model that a request is for: its latest version, or one by number or label."""

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.label is not None:
            return f"{self.model}, label {self.label}"
        return f"Latest({self.model})" if self.version is None else f"Specific({self.model}, {self.version})"


@dataclass(frozen=True)
class Route:
    """An understood request line."""

    wanted: Wanted
    action: str
    """predict, classify, regress, status or metadata."""


def route(method: str, path: str) -> Route:
    """The route of a request; raises Refusal if the interface has none such."""
    if method == "POST" and (match := _PREDICTION.fullmatch(path)):
        return Route(_wanted(match[1], match[2], match[3]), match[4].lower())
    if method in ("GET", "HEAD") and (match := _STATUS.fullmatch(path)):
        if match[1] is None:
            raise Refusal("INVALID_ARGUMENT", "Missing model name in request.")
        return Route(_wanted(match[1], match[2], match[3]), (match[4] or "status").lower())
    if not path.lower().startswith("/v1/"):
        raise Refusal("NOT_FOUND", f"Malformed request: {method} {path[:200]}")
    raise Refusal("INVALID_ARGUMENT", f"Malformed request: {method} {path[:200]}")


def _wanted(model: str, version: str | None, label: str | None) -> Wanted:
    number = None
    if version is not None:
        number = int(version) if len(version) < 20 else _LARGEST_VERSION + 1
        if number > _LARGEST_VERSION:
            raise Refusal("INVALID_ARGUMENT", f"Failed to convert version: {version[:40]} to numeric.")
    return Wanted(_decoded(model, "model name"), number, None if label is None else _decoded(label, "version label"))


def _decoded(text: str, what: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refusal("INVALID_ARGUMENT", f"Failed to decode {what}: {shown(text)}") from None
