"""Request lines of the REST interface."""

from __future__ import annotations

import pytest

from orchestrator.serving.paths import Route, Wanted, route
from orchestrator.serving.refusal import Refusal

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/models/m:predict", Route(Wanted("m"), "predict")),
        ("POST", "/V1/Models/m:PREDICT", Route(Wanted("m"), "predict")),
        ("POST", "/v1/models/m/versions/3:predict", Route(Wanted("m", 3), "predict")),
        ("POST", "/v1/models/m/labels/stable:regress", Route(Wanted("m", label="stable"), "regress")),
        ("POST", "/v1/models/m:classify", Route(Wanted("m"), "classify")),
        ("POST", "/v1/models/a%20b:predict", Route(Wanted("a b"), "predict")),
        ("POST", "/v1/models/m/labels/a%2Fb:predict", Route(Wanted("m", label="a/b"), "predict")),
        ("GET", "/v1/models/m", Route(Wanted("m"), "status")),
        ("HEAD", "/v1/models/m", Route(Wanted("m"), "status")),
        ("GET", "/v1/models/m/versions/7", Route(Wanted("m", 7), "status")),
        ("GET", "/v1/models/m/labels/x", Route(Wanted("m", label="x"), "status")),
        ("GET", "/v1/models/m/metadata", Route(Wanted("m"), "metadata")),
        ("GET", "/v1/models/m/versions/7/metadata", Route(Wanted("m", 7), "metadata")),
    ],
)
def test_what_is_served(method: str, path: str, expected: Route) -> None:
    assert route(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path", "http", "words"),
    [
        ("GET", "/", 404, "Malformed request: GET /"),
        ("GET", "/v2/models/m", 404, "Malformed request"),
        ("GET", "/v1/models", 400, "Missing model name"),
        ("GET", "/v1/models/", 400, "Malformed request"),
        ("GET", "/v1/models/m:predict", 400, "Malformed request"),
        ("PUT", "/v1/models/m:predict", 400, "Malformed request: PUT"),
        ("DELETE", "/v1/models/m", 400, "Malformed request"),
        ("POST", "/v1/models/m", 400, "Malformed request"),
        ("POST", "/v1/models/m:explain", 400, "Malformed request"),
        ("POST", "/v1/models/m/versions/-1:predict", 400, "Malformed request"),
        ("POST", "/v1/models/m/versions/1.5:predict", 400, "Malformed request"),
        ("POST", "/v1/models/m/versions/\u0661:predict", 400, "Malformed request"),
        ("POST", "/v1/models/m/versions/9223372036854775808:predict", 400, "Failed to convert version"),
        ("POST", f"/v1/models/m/versions/{'9' * 5000}:predict", 400, "Failed to convert version"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict", 400, "Malformed request"),
        ("POST", "/v1/models/%ff:predict", 400, "Failed to decode model name"),
        ("POST", "/v1/models/m/labels/%ff:predict", 400, "Failed to decode version label"),
        ("POST", "/v1/models/../../etc/passwd:predict", 400, "Malformed request"),
        ("POST", "/v1/models/m:predict/", 400, "Malformed request"),
        ("POST", "/v1/models/m:predict\n", 400, "Malformed request"),
    ],
)
def test_what_is_refused(method: str, path: str, http: int, words: str) -> None:
    with pytest.raises(Refusal, match=words) as refused:
        route(method, path)
    assert refused.value.http == http
    assert len(refused.value.message) < 400
