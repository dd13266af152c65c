"""`regatta serve` as users start it: Ray Serve, TensorFlow in a replica, plain HTTP and the published client.

One server for the whole file; the tests are in the order in which they need it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

HERE = Path(__file__).parent
PATIENCE = 540.0
"""Seconds: a machine may be busy."""
pytestmark = pytest.mark.timeout(1200)


@dataclass
class Server:
    """A running command, its folder of versions, and its addresses."""

    process: subprocess.Popen[str]
    versions: Path
    spare: Path
    rest: str
    grpc: str
    lines: list[str]

    @property
    def url(self) -> str:
        return f"{self.rest}/v1/models/my_model:predict"

    def replicas(self) -> list[psutil.Process]:
        """Processes of Ray Serve's replicas."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "ServeReplica" in " ".join(child.cmdline())]


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    python(str(HERE / "saved_models.py"), str(folder / "spare"), "1", "10")
    (folder / "versions").mkdir()
    shutil.copytree(folder / "spare" / "1", folder / "versions" / "1")
    command = [sys.executable, "-P", "-c", "from orchestrator.cli.main import main; main()", "serve", "versions"]
    options = ["--name", "my_model", "--port", "0", "--grpc-port", "0", "--timeout", str(PATIENCE)]
    process = subprocess.Popen([*command, *options], cwd=folder, stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
    reader.start()
    try:
        found: dict[str, str] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < 2 and process.poll() is None and time.monotonic() < deadline:
            text = "".join(lines)
            found = {
                name: match[1]
                for name, pattern in (("rest", r"REST: (http://[\d.]+:\d+)/"), ("grpc", r"gRPC: (\S+)\n"))
                if (match := re.search(pattern, text))
            }
            time.sleep(0.1)
        assert len(found) == 2, "".join(lines)
        yield Server(process, folder / "versions", folder / "spare", found["rest"], found["grpc"], lines)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE)
        reader.join(60)


@dataclass
class Load:
    """Clients that ask without pause until the `with` block ends, and compare each answer with the right ones."""

    url: str
    clients: int = 3
    answered: list[tuple[float, int, str]] = field(default_factory=list)
    """Per request: when it was sent, the status, and whose answer it is: `v1`, `v2`, or what was wrong."""
    _ended: bool = False

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, number: int) -> None:
        session = requests.Session()
        while not self._ended:
            number = (number * 31 + 7) % 997
            since = time.monotonic()
            body = json.dumps({"instances": [[float(number), 1.0, 2.0]]})
            answer = session.post(self.url, data=body, timeout=PATIENCE)
            right, value = number + 8.0, answer.json().get("predictions", answer.text)
            whose = {str([[right]]): "v1", str([[10 * right]]): "v2"}.get(str(value), f"wrong: {value} for {number}")
            self.answered.append((since, answer.status_code, whose))

    def until(self, whose: str, since: float) -> None:
        """Wait for a right answer to a request that was sent after `since` (monotonic seconds)."""
        deadline = time.monotonic() + PATIENCE
        while not any(sent > since and found == whose for sent, _, found in self.answered):
            assert time.monotonic() < deadline, self.answered[-5:]
            time.sleep(0.05)


def test_the_tutorials_request(server: Server) -> None:
    url = server.url
    response = requests.post(url, data=json.dumps({"instances": [[1.0, 2.0, 3.0]]}))
    assert response.json()["predictions"] == [[14.0]]


def test_a_killed_replica_costs_no_answer(server: Server) -> None:
    (replica,) = server.replicas()
    with Load(server.url) as load:
        load.until("v1", 0)
        killed = time.monotonic()
        replica.kill()
        replica.wait(60)
        load.until("v1", killed + 0.5)
        print(f"answers are back after {time.monotonic() - killed:.1f} s")
    assert {(code, whose) for _, code, whose in load.answered} == {(200, "v1")}
    assert server.replicas() != [replica]


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


def test_sigterm_ends_it_and_leaves_nothing(server: Server) -> None:
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) > 3
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0, "".join(server.lines)
    assert psutil.wait_procs(children, 60)[1] == []
    assert "SIGTERM: answering" in "".join(server.lines)
