"""What answers as an MLflow tracking server and means harm: training never suffers, and one line says so.

A real server on a port of its own, and MLflow's own client, in the process that the sink starts.
"""

from __future__ import annotations

import gzip
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.sinks import mlflow
from orchestrator.sinks.fanout import sinks_ready
from orchestrator.spec.run import RunSpec
from tests.conftest import regatta
from tests.integration.views.test_mlflow import a_run
from tests.marked import fast
from tests.unit.security.conftest import unseen
from tests.unit.security.hostile_server import Say, Server, body, document, endless, serving

LIMIT = 8.0
"""Seconds that the sink has in these tests; MLflow is imported within them."""
EXPERIMENT: dict[str, Any] = {
    "experiment": {"experiment_id": "1", "name": "regatta", "lifecycle_stage": "active", "artifact_location": "x"}
}


def run_at(artifacts: str) -> dict[str, Any]:
    info = {"run_id": "0" * 32, "run_uuid": "0" * 32, "experiment_id": "1", "status": "RUNNING", "start_time": 1,
            "artifact_uri": artifacts, "lifecycle_stage": "active", "run_name": "x"}  # fmt: skip
    return {"run": {"info": info, "data": {}}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """It behaves until a test changes what it says."""
    monkeypatch.setattr(mlflow, "PATIENCE_SECONDS", LIMIT)
    with serving() as served:
        served.says |= {
            "/experiments/get-by-name": document(EXPERIMENT),
            "/runs/create": document(run_at("mlflow-artifacts:/1/0/artifacts")),
            "/runs/log-batch": document({}),
            "/runs/update": document(run_at("x")),
            "/runs/get": document(run_at("mlflow-artifacts:/1/0/artifacts")),
        }
        yield served


def elsewhere() -> Say:
    """A redirect to a server that must not be asked."""
    return body(b"", 307, Location="http://127.0.0.1:9/stolen")


HARM: dict[str, Say] = {
    "an error page": body(b"\x1b]0;owned\x07" + b"x" * 100_000, 500),
    "endless": endless(0, b" " * 1_000_000),
    "slow": endless(0.2, b" "),
    "no JSON": body(b"<html>a proxy's login page</html>"),
    "another document": document([1, 2, 3]),
    "wrong types": document({"experiment": 7, "run": "x"}),
    "deep": body(b"[" * 100_000),
    "elsewhere": elsewhere(),
    "forbidden": body(b'{"error_code": "PERMISSION_DENIED", "message": "\x1b[31mno\\u202e"}', 403),
    "come back later": body(b"", 429, Retry_After="86400"),
    "compressed": body(gzip.compress(b" " * 30_000_000, 1) * 100, Content_Encoding="gzip"),
    "cut off": body(b"{", Content_Length="100"),
}
AT_THE_START = [name for name in HARM if name not in ("endless", "slow")]
AT_THE_END = ["an error page", "endless", "wrong types", "elsewhere"]


def driver_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("what", fast(AT_THE_START, "an error page"))
def test_before_anything_is_started_it_is_refused(server: Server, what: str) -> None:
    server.says |= {"/experiments/get-by-name": HARM[what], "/experiments/create": HARM[what]}
    before, began = driver_megabytes(), time.monotonic()
    with pytest.raises(
        UsageError, match=r"^mlflow: 'http://127\.0\.0\.1:\d+' does not work as a tracking server: ."
    ) as said:
        sinks_ready(RunSpec.make({"job": "digits", "mlflow": server.address})).__enter__()
    assert time.monotonic() - began < LIMIT + 10
    assert driver_megabytes() - before < 100
    assert len(said.value.message) < 600
    assert "\n" not in said.value.message
    assert not any("stolen" in asked for asked in server.asked)


@pytest.mark.parametrize("what", fast(AT_THE_END, "elsewhere"))
def test_a_run_that_ended_keeps_its_result_and_one_line_says_what_failed(
    server: Server, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.says |= {"/runs/create": HARM[what], "/runs/log-batch": HARM[what]}
    before, began = driver_megabytes(), time.monotonic()
    with caplog.at_level(logging.WARNING, "regatta"):
        result = a_run(server.address, tmp_path, "sync")
    assert time.monotonic() - began < LIMIT + 30
    assert driver_megabytes() - before < 200
    assert result.status == "succeeded"
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "succeeded"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("run-sync: MLflow failed: MLflowError: ")
    assert len(warning) < 700
    assert not unseen(warning)


@pytest.mark.parametrize(
    "destination", fast(["file:///{}", "{}", "sftp://127.0.0.1/x", "http://127.0.0.1:9/x"], "file:///{}")
)
def test_files_go_nowhere_that_the_server_chooses(
    server: Server, destination: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    server.says["/runs/create"] = document(run_at(destination.format(private)))
    run = tmp_path / "run"
    run.mkdir()
    with caplog.at_level(logging.WARNING, "regatta"):
        a_run(server.address, run, "sync")
    assert "wants the run's files to be written to" in caplog.text
    assert not list(private.iterdir())
    assert any(asked.endswith("/log-batch") for asked in server.asked), "metrics are what it may have"


@pytest.mark.slow
def test_a_server_that_took_too_long_is_asked_once(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next runs of a comparison do not wait for it again."""
    server.says["/runs/create"] = HARM["slow"]
    with caplog.at_level(logging.WARNING, "regatta"):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            a_run(server.address, tmp_path / name, "sync")
    assert [asked for asked in server.asked if "create" in asked] == ["POST /api/2.0/mlflow/runs/create"]
    assert "is asked for nothing more" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.slow
def test_the_command_succeeds_in_spite_of_it(server: Server, tmp_path: Path) -> None:
    server.says["/runs/log-batch"] = HARM["an error page"]
    done = regatta(
        "run", "digits", "--backend", "local", "--samples", "6400", "--target", "val_accuracy>=2", "--out", "run",
        "--mlflow", server.address, "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "succeeded"
    assert done.stderr.count("MLflow failed") == 1
    assert "Traceback" not in done.stderr
    assert not unseen(done.stderr)


def test_the_client_ends_without_its_driver(server: Server) -> None:
    server.says["/experiments/get-by-name"] = HARM["slow"]
    request = json.dumps({"uri": server.address, "seconds": 3})
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.sinks.mlflow_client"], input=request, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == -14, "SIGALRM"
    assert time.monotonic() - began < 30
