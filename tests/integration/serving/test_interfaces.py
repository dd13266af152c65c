"""TensorFlow Serving's interfaces over real sockets, in front of a model that is a plain function."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.serving.messages import message
from orchestrator.serving.model import Limits
from orchestrator.serving.versions import Policy
from tests.integration.serving.fake_server import FunctionEngine, Served, add_version, served

ROWS = {"instances": [[1.0, 2.0, 3.0]]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("versions")
    add_version(folder, 1)
    add_version(folder, 3)
    with served(folder, policy=Policy(None), labels={"stable": 1}) as running:
        yield running


def post(server: Served, path: str, document: Any, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/v1/models/{path}", data=json.dumps(document), timeout=60, **options)


def test_the_tutorials_lines(server: Served) -> None:
    url = f"{server.url}/v1/models/my_model:predict"
    response = requests.post(url, data=json.dumps({"instances": [[1.0, 2.0, 3.0]]}))
    assert response.json()["predictions"] == [18.0]
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "expected"), [("my_model", 18), ("my_model/versions/1", 6), ("my_model/labels/stable", 6)]
)
def test_versions_and_labels(server: Served, path: str, expected: float) -> None:
    assert post(server, f"{path}:predict", ROWS).json() == {"predictions": [expected]}
    assert post(server, f"{path}:predict", {"inputs": [[1, 2, 3]]}).json() == {"outputs": [expected]}


def test_not_a_number_goes_through(server: Served) -> None:
    answer = post(server, "my_model:predict", {"instances": [[float("nan"), 1, 2], [float("inf"), 1, 2]]})
    assert answer.text == '{"predictions": [NaN, Infinity]}'


def test_classify_and_regress(server: Served) -> None:
    examples = {"signature_name": "classify", "examples": [{"age": 3, "name": "x"}, {"b": [1.5, 2.5]}]}
    row = [["a", 0.25], ["b", 0.75]]
    assert post(server, "my_model:classify", examples).json() == {"results": [row, row]}
    regress = post(server, "my_model:regress", {"signature_name": "regress", "examples": [{"a": 1}]})
    assert regress.status_code == 200
    assert len(regress.json()["results"]) == 1
    wrong = post(server, "my_model:classify", {"examples": [{"a": 1}]})
    assert (wrong.status_code, "signature method_name" in wrong.json()["error"]) == (400, True)


def test_status_and_metadata(server: Served) -> None:
    status = requests.get(f"{server.url}/v1/models/my_model", timeout=60).json()["model_version_status"]
    assert [(one["version"], one["state"], one["status"]["error_code"]) for one in status] == [
        ("3", "AVAILABLE", "OK"),
        ("1", "AVAILABLE", "OK"),
    ]
    metadata = requests.get(f"{server.url}/v1/models/my_model/versions/1/metadata", timeout=60).json()
    assert metadata["model_spec"] == {"name": "my_model", "signature_name": "", "version": "1"}
    default = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [size["size"] for size in default["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "3"]


@pytest.mark.parametrize(
    ("path", "document", "code", "words"),
    [
        ("other:predict", ROWS, 404, "Servable not found for request: Latest(other)"),
        ("my_model/versions/2:predict", ROWS, 404, "Specific(my_model, 2)"),
        ("my_model/labels/none:predict", ROWS, 400, "Unrecognized servable version label"),
        ("my_model:predict", {"instances": [[1, 2]]}, 400, "has shape [1,2], and the signature takes [-1,3]"),
        ("my_model:predict", {**ROWS, "signature_name": "other"}, 400, '"other" not found in signature def'),
        ("my_model:predict", {"instances": [[666, 1, 2]]}, 400, "the model does not take 666"),
        ("my_model:explain", ROWS, 400, "Malformed request: POST /v1/models/my_model:explain"),
    ],
)
def test_errors(server: Served, path: str, document: Any, code: int, words: str) -> None:
    answer = post(server, path, document)
    assert answer.status_code == code
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]


def test_bodies_in_other_forms(server: Served) -> None:
    url = f"{server.url}/v1/models/my_model:predict"
    raw = json.dumps(ROWS).encode()

    def code(data: Any, **headers: str) -> int:
        return requests.post(url, data=data, headers=headers, timeout=60).status_code

    packed = {"Content-Encoding": "gzip"}
    assert requests.post(url, data=gzip.compress(raw), headers=packed, timeout=60).json() == {"predictions": [18.0]}
    assert code(iter([raw[:10], raw[10:]])) == 200  # in chunks
    assert code(raw, **packed) == 400
    assert code(gzip.compress(raw)[:-4], **packed) == 400
    assert code(gzip.compress(b" " * (64 << 20)), **packed) == 413
    assert code(raw, **{"Content-Encoding": "br"}) == 415
    assert code(b" " * (2 << 20)) == 413
    assert code(iter([b" " * (1 << 20)] * 3)) == 413
    assert code(raw) == 200


def exchange(server: Served, sent: bytes, seconds: float = 20) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/models/my_model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/my_model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"a: " + b"x" * (1 << 20),
        b"GET /" + b"x" * (1 << 20),
    ],
)
def test_what_is_not_http_is_closed(server: Served, sent: bytes) -> None:
    try:
        answer = exchange(server, sent)
    except ConnectionError:
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert post(server, "my_model:predict", ROWS).status_code == 200


def test_slow_clients_are_given_up(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    head = b"POST /v1/models/my_model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n"
    with served(tmp_path, body_seconds=0.2, header_seconds=0.2) as running:
        assert exchange(running, b"POST /v1") == b""
        assert exchange(running, b"") == b""
        assert exchange(running, head + b"{").startswith(b"HTTP/1.1 408")


def test_a_token(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    with served(tmp_path, token="s3cret") as running:
        assert post(running, "my_model:predict", ROWS).status_code == 401
        for wrong in ("Bearer other", "s3cret", "Bearer s3cret ", "bearer s3cret", "Bearer \xff"):
            answer = post(running, "my_model:predict", ROWS, headers={"Authorization": wrong.encode("latin-1").strip()})
            assert answer.status_code == (200 if wrong.strip() == "Bearer s3cret" else 401)
        right = post(running, "my_model:predict", ROWS, headers={"Authorization": "Bearer s3cret"})
        assert right.json() == {"predictions": [6.0]}
        assert requests.get(f"{running.url}/monitoring/prometheus/metrics", timeout=60).status_code == 401
        assert requests.get(f"{running.url}/healthz", timeout=60).text == "ok\n"


def test_metrics(server: Served) -> None:
    post(server, "my_model:predict", ROWS)
    post(server, "made-up-by-a-client:predict", ROWS)
    page = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
    assert ':tensorflow:serving:request_count{model_name="my_model",status="OK"}' in page
    assert ":tensorflow:serving:request_latency_bucket{" in page
    assert ":regatta:serving:batch_rows_bucket{" in page
    assert "made-up-by-a-client" not in page


def test_requests_are_joined_and_answered_apart(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    with served(tmp_path, engine=FunctionEngine(seconds=0.05), limits=Limits(concurrent=1)) as running:

        def ask(number: int) -> Any:
            return post(running, "my_model:predict", {"instances": [[number, 0, 0], [number, 1, 0]]})

        with ThreadPoolExecutor(16) as pool:
            numbers = [666, *range(63)]
            answers = list(pool.map(ask, numbers))
        assert [answer.status_code for answer in answers] == [400] + [200] * 63
        for number, answer in zip(numbers[1:], answers[1:], strict=True):
            assert answer.json() == {"predictions": [number, number + 1]}
        assert max(running.engine.calls) > 2


def test_too_many_requests_are_refused(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    limits = Limits(most_rows=1, concurrent=1, queue=2)
    with served(tmp_path, engine=FunctionEngine(seconds=0.2), limits=limits) as running:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: post(running, "my_model:predict", ROWS), range(12)))
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 503}
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)
        assert post(running, "my_model:predict", ROWS).status_code == 200


def test_a_version_is_swapped_while_requests_arrive(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    with served(tmp_path, engine=FunctionEngine(seconds=0.01)) as running:
        ended: list[bool] = []

        def ask(_: int) -> list[tuple[int, float]]:
            found = []
            while not ended:
                answer = post(running, "my_model:predict", ROWS)
                found.append((answer.status_code, answer.json()["predictions"][0]))
            return found

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, number) for number in range(4)]
            try:
                time.sleep(0.2)
                add_version(tmp_path, 2, broken=True)
                running.refresh()
                add_version(tmp_path, 3)
                running.refresh()
                time.sleep(0.2)
            finally:
                ended.append(True)
            answers = [answer for future in asking for answer in future.result(60)]
        assert {code for code, _ in answers} == {200}
        assert {value for _, value in answers} == {6.0, 18.0}
        assert running.engine.unloaded == [1]
        assert any("version 2 of my_model is refused" in line and "served on" in line for line in running.told)
        states = {one.number: one.state for one in running.model.versions.values()}
        assert states == {1: "END", 2: "END", 3: "AVAILABLE"}


def call(server: Served, method: str, request: Any, answer: str, **options: Any) -> Any:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(
            method,
            request_serializer=lambda made: made.SerializeToString(),
            response_deserializer=message(answer).FromString,
        )
        return ask(request, timeout=60, **options)


def predict_request(values: list[float], version: int | None = None) -> Any:
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "my_model"
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["x"].dtype = 1
    for size in (1, 3):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].float_val.extend(values)
    return request


def test_grpc(server: Served) -> None:
    import grpc

    predict = "/tensorflow.serving.PredictionService/Predict"
    answer = "tensorflow.serving.PredictResponse"
    assert list(call(server, predict, predict_request([1, 2, 3]), answer).outputs["y"].float_val) == [18.0]
    made = call(server, predict, predict_request([1, 2, 3], version=1), answer)
    assert (list(made.outputs["y"].float_val), made.model_spec.version.value) == ([6.0], 1)
    for request, code in [
        (predict_request([1, 2, 3], version=2), grpc.StatusCode.NOT_FOUND),
        (predict_request([1, 2, 3, 4]), grpc.StatusCode.INVALID_ARGUMENT),
        (message("tensorflow.serving.PredictRequest")(), grpc.StatusCode.INVALID_ARGUMENT),
    ]:
        with pytest.raises(grpc.RpcError) as refused:
            call(server, predict, request, answer)
        assert refused.value.code() is code
    health = message("grpc.health.v1.HealthCheckRequest")()
    assert call(server, "/grpc.health.v1.Health/Check", health, "grpc.health.v1.HealthCheckResponse").status == 1


def test_bytes_arrive(server: Served) -> None:
    encoded = base64.b64encode(b"\xff\x00").decode()
    document = {"signature_name": "regress", "inputs": {"b64": encoded}}
    assert post(server, "my_model:predict", {**document, "inputs": [{"b64": encoded}]}).json() == {"outputs": [2.0]}
