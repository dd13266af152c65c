"""`regatta serve` as users start it: Ray Serve, TensorFlow in a replica, plain HTTP and the published client.

One server for the whole file; the tests are in the order in which they need it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import requests

from tests.integration.serving.real_server import HERE, PATIENCE, Load, Server, python, serving, write_models
from tests.unit.serving.test_hostile_requests import BAD_EXAMPLES, CASES

pytestmark = pytest.mark.timeout(1200)
NOT_HTTP = [
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"x" * (1 << 20),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    write_models(folder)
    with serving(folder) as running:
        yield running


def test_the_tutorials_request(server: Server) -> None:
    url = server.url
    response = requests.post(url, data=json.dumps({"instances": [[1.0, 2.0, 3.0]]}))
    assert response.json()["predictions"] == [[14.0]]


def test_hostile_requests_are_refused_and_the_server_goes_on(server: Server) -> None:
    session = requests.Session()

    def post(action: str, body: bytes) -> requests.Response:
        return session.post(server.url.replace(":predict", f":{action}"), data=body, timeout=PATIENCE)

    asked = [(name, "predict", raw) for name, raw, _ in CASES]
    for action in ("classify", "regress"):
        asked += [(f"{action} {document}", action, json.dumps(document).encode()) for document in BAD_EXAMPLES]
    assert len(asked) > 250
    for name, action, raw in asked:
        answer = post(action, raw)
        assert (answer.status_code, list(answer.json())) in [(400, ["error"]), (501, ["error"])], (name, answer.text)
    assert post("predict", b" " * (17 << 20)).status_code == 413
    host, _, port = server.rest.removeprefix("http://").partition(":")
    for sent in NOT_HTTP:
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            try:
                connection.sendall(sent)
                answer = connection.recv(65536)
            except ConnectionError:
                answer = b""
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert post("predict", b'{"instances": [[1.0, 2.0, 3.0]]}').json()["predictions"] == [[14.0]]
    assert len(server.replicas()) == 1


@pytest.mark.parametrize("of", [Server.replicas, Server.models])
def test_a_killed_process_costs_no_answer(server: Server, of: Callable[[Server], list[psutil.Process]]) -> None:
    """A replica of Ray Serve, and the process of its model: each ends with the other."""
    (replica,), (model,) = server.replicas(), server.models()
    (killed,) = of(server)
    with Load(server.url) as load:
        load.until("v1", 0)
        since = time.monotonic()
        killed.kill()
        assert psutil.wait_procs([replica, model], 60)[1] == []
        load.until("v1", since + 0.5)
        print(f"answers are back after {time.monotonic() - since:.1f} s")
    assert {(code, whose) for _, code, whose in load.answered} == {(200, "v1")}
    assert server.replicas() not in ([], [replica])


def test_a_new_version_takes_over_under_load(server: Server) -> None:
    (server.versions / "2").mkdir()
    (server.versions / "2" / "saved_model.pb").write_bytes(b"no model")
    with Load(server.url) as load:
        load.until("v1", 0)
        shutil.copytree(server.spare / "2", server.versions / ".3")
        (server.versions / ".3").rename(server.versions / "3")
        load.until("v2", 0)
        load.until("v2", time.monotonic())
    assert {code for _, code, _ in load.answered} == {200}
    assert {whose for _, _, whose in load.answered} == {"v1", "v2"}
    first = next(place for place, (_, _, whose) in enumerate(load.answered) if whose == "v2")
    assert all(whose == "v2" for _, _, whose in load.answered[first + load.clients :])


def test_the_published_client(server: Server) -> None:
    found = json.loads(python(str(HERE / "published_client.py"), server.grpc).splitlines()[-1])
    version = int(found["version"])
    scale = {1: 1, 3: 10}[version]
    assert found["y"] == [[14.0 * scale], [32.0 * scale]]
    assert found["states"][str(version)] == 30
    assert (found["input"], found["refused"]) == (1, "INVALID_ARGUMENT")


def test_sigterm_answers_what_was_asked_and_leaves_nothing(server: Server) -> None:
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) > 3
    answers: list[requests.Response] = []

    def ask(loops: int) -> float:
        since = time.monotonic()
        body = json.dumps({"signature_name": "spin", "inputs": loops})
        answers.append(requests.post(server.url, data=body, timeout=PATIENCE))
        return time.monotonic() - since

    ask(1000)
    loops = int(3 * 1000 / max(ask(1000), 0.001))  # about three seconds, at the speed of this moment
    asking = threading.Thread(target=ask, args=(loops,))
    asking.start()
    deadline = time.monotonic() + PATIENCE
    waiting = ':regatta:serving:requests_waiting{model_name="my_model"} 1.0'
    while waiting not in requests.get(f"{server.rest}/monitoring/prometheus/metrics", timeout=60).text:
        assert time.monotonic() < deadline
        assert asking.is_alive()
        time.sleep(0.02)
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0, "".join(server.lines)
    asking.join(60)
    assert [(answer.status_code, answer.json()) for answer in answers][-1] == (200, {"outputs": float(loops)})
    assert psutil.wait_procs(children, 60)[1] == []
    assert "SIGTERM: answering 1 requests" in "".join(server.lines)
