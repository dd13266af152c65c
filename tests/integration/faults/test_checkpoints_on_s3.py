"""Checkpoints in an object store: a real S3 server on this machine, spoken to over HTTP by pyarrow's own client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import UsageError
from orchestrator.runs.checkpoints import check_destination, checkpointing
from orchestrator.spec.run import RunSpec
from tests.integration.local_runs import train
from tests.unit.checkpoints.snapshots import ABOUT, a_snapshot
from workers.checkpoints.destination import open_storage
from workers.checkpoints.errors import CheckpointError, FencedError
from workers.checkpoints.manifest import ARRAYS, MANIFEST, Score
from workers.checkpoints.storage import FENCE
from workers.checkpoints.store import CheckpointStore


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its `host:port`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def base(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A bucket of the test's own, and how to reach it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    bucket = request.node.name.replace("_", "-")[:60].strip("-")
    options = f"endpoint_override={server}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    return f"s3://{bucket}/of/me", options


@pytest.fixture
def store(base: tuple[str, str]) -> CheckpointStore:
    return CheckpointStore(open_storage(f"{base[0]}/a-run?{base[1]}"), "a-run")


def test_written_read_pruned(store: CheckpointStore) -> None:
    assert store.attempt() == 0
    assert store.names() == []
    store.claim(1)
    for step in (10, 20, 30):
        store.write(a_snapshot(step), 1, ABOUT)
        store.write(a_snapshot(step), 1, ABOUT, Score(metric="val_loss", value=1 / step))
    store.prune(2)
    assert store.names() == ["0000000020-1", "0000000030-1"]
    assert store._storage.names() == [*store.names(), "0000000030-1-best"]
    assert store.best("val_loss", maximize=False) == 1 / 30
    found = store.latest().checkpoint
    assert found is not None
    assert found.snapshot.weights[0].tobytes() == a_snapshot(30).weights[0].tobytes()


def test_an_unfinished_one_is_none_and_is_cleaned_up(store: CheckpointStore) -> None:
    store.claim(1)
    store.write(a_snapshot(10), 1, ABOUT)
    store._storage.put(f"0000000020-1/{ARRAYS}", b"half")
    assert store.names() == ["0000000010-1"]
    store.clean()
    assert store._storage.read(f"0000000020-1/{ARRAYS}", 10) is None
    assert store._storage.read(FENCE, 1000) is not None


def test_a_damaged_one_is_passed_over(store: CheckpointStore) -> None:
    store.claim(1)
    for step in (10, 20, 30):
        store.write(a_snapshot(step), 1, ABOUT)
    store._storage.put(f"0000000030-1/{ARRAYS}", b"torn")
    store._storage.put(f"0000000020-1/{MANIFEST}", b"{}")
    found = store.latest()
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.step == 10
    assert len(found.passed_over) == 2


def test_one_attempt_writes(store: CheckpointStore) -> None:
    store.claim(1)
    store.claim(2)
    with pytest.raises(FencedError):
        store.write(a_snapshot(10), 1, ABOUT)
    assert store.names() == []


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    spec = RunSpec.make({"job": "digits", "checkpoints": "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http"})
    with pytest.raises(UsageError, match="checkpoints: s3://bucket/x/a-run cannot be used"):
        check_destination(spec, "a-run", Path())


def test_a_run_trains_and_is_resumed_there(base: tuple[str, str], tmp_path: Path) -> None:
    where, options = base
    settings = {"mode": "sync", "workers": 2, "batch_size": 16, "checkpoints": f"{where}?{options}", "folder": tmp_path}
    spec = RunSpec.make({"job": "exact.py", "checkpoints": settings["checkpoints"]})
    check_destination(spec, "seed-0", tmp_path)
    train("exact.py", attempt=1, samples=320, **settings)
    second = train("exact.py", attempt=2, samples=640, **settings)[0]
    assert second.steps.tolist() == list(range(11, 21))
    assert not list(tmp_path.rglob("*.npz"))
    settings = checkpointing(spec, "seed-0", tmp_path, workers=2)
    assert settings is not None
    latest = CheckpointStore(open_storage(settings.destination), "seed-0").latest().checkpoint
    assert latest is not None
    assert (latest.manifest.step, latest.manifest.attempt) == (20, 2)
    for kept, final in zip(latest.snapshot.weights, second.final.weights, strict=True):
        np.testing.assert_array_equal(kept, final)
    with pytest.raises(UsageError, match="earlier run with the same name"):
        check_destination(spec, "seed-0", tmp_path)


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://?region=nowhere", "gopher://host/path", "s3://bucket/%zz?endpoint_override="]
)
def test_places_that_are_none(uri: str) -> None:
    with pytest.raises((CheckpointError, OSError)):
        CheckpointStore(open_storage(uri), "a-run").attempt()
