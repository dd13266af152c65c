"""A run as Weights & Biases has it: the real client, offline, whose files are read with its own messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Training
from orchestrator.errors import SpecError
from orchestrator.results import RunResult
from orchestrator.runs.checkpoints import Resumed
from orchestrator.runs.runner import Runner
from orchestrator.runs.watcher import NullWatcher
from orchestrator.sinks import wandb
from orchestrator.sinks.fanout import sinks_ready
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import COMPARISON_SPEC
from tests.conftest import regatta
from tests.made import in_order, status
from tests.unit.runs.test_recorder import W0, batch, ended, evaluation
from workers.news import LegStarted

STEPS = 3000
_BLOCK = 32 << 10


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))  # where somebody may be logged in


def records(path: Path) -> Iterator[Any]:
    """The client's records in a file, which is a log of LevelDB: blocks of 32 KiB, each with parts of records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if _BLOCK - at % _BLOCK < 7:  # what is left of a block is too short for a header
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


class Offline:
    """What the client has written of a run."""

    def __init__(self, run: Path) -> None:
        (folder,) = (run / "wandb").glob("offline-run-*")
        (path,) = folder.glob("*.wandb")
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit: int | None = None
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                case "history":
                    items = record.history.item
                    found = {"/".join([item.key, *item.nested_key][-1:]): json.loads(item.value_json) for item in items}
                    self.history.append(found | {"row": record.history.step.num})
                case "summary":
                    self.summary |= {item.key or item.nested_key[0]: item.value_json for item in record.summary.update}
                case "exit":
                    self.exit = record.exit.exit_code
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}

    def curve(self, name: str) -> list[tuple[int, float]]:
        return [(row["samples"], row[name]) for row in self.history if name in row]


def a_runner(path: Path, resumed: Resumed | None = None, **fields: Any) -> Runner:
    values = {"job": "digits", "mode": "sync", "wandb": "somebody/boats", "params": {"hidden": 64}, **fields}
    spec = RunSpec.make(values)
    return Runner(
        spec, path, path.name, NullWatcher(), {}, command_started=0.0, deadline=None, resumed=resumed
    )  # fmt: skip


def train(runner: Runner, first: int, last: int, *, attempt: int = 1, scores: dict[int, float] | None = None) -> None:
    """Record the steps from `first` to `last` like those of any run, from made-up news."""

    def add(**news: Any) -> None:
        runner._recorder.tick(attempt, Tick(Training("r"), [status(W0, *in_order(**news))]))

    add(leg_started=(LegStarted("r", STEPS, 64, 500),))
    batches = (batch(step, [100 / step] * 100) for step in range(first, last, 100))
    add(batches=tuple(replace(each, learning_rate=0.01) for each in batches))
    add(evaluations=tuple(evaluation(step, val_accuracy=value) for step, value in (scores or {}).items()))


def end(runner: Runner) -> RunResult:
    return runner._conclude(ended(STEPS, last=evaluation(STEPS, val_accuracy=0.95)))


def test_a_run_of_a_comparison_that_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "race" / "runs" / "race-sync-s0"
    path.mkdir(parents=True)
    (tmp_path / "race" / COMPARISON_SPEC).write_text("{}")
    spec = RunSpec.make({"job": "digits", "wandb": "boats"})
    with sinks_ready(spec):
        runner = a_runner(path)
        train(runner, 1, 1500, scores={1000: 0.9})
        runner._store.close()
    first = Offline(path)
    assert (first.run.entity, first.run.project) == ("somebody", "boats")
    assert (first.run.display_name, first.run.run_group) == ("sync/seed0", "race")
    assert (first.config["mode"], first.config["params"]["hidden"]) == ("sync", 64)
    losses = first.curve("train/loss")
    assert losses[-1] == (1500 * 64, pytest.approx(100 / 1401))
    assert len(losses) > 15
    assert [samples for samples, _ in losses] == sorted(samples for samples, _ in losses)
    assert {value for _, value in first.curve("train/learning_rate")} == {0.01}
    assert first.curve("evaluation/val_accuracy") == [(1000 * 64, 0.9)]
    assert first.exit == 1

    (folder,) = (path / "wandb").glob("offline-run-*")
    folder.rename(tmp_path / folder.name)
    with sinks_ready(spec):
        runner = a_runner(path, Resumed(2, 14.0))
        train(runner, 1401, STEPS, attempt=2, scores={STEPS: 0.95})
        result = end(runner)
    second = Offline(path)
    assert second.run.run_id == first.run.run_id
    assert second.history[0]["row"] == first.history[-1]["row"] + 1
    assert 1400 * 64 < second.history[0]["samples"] <= 1500 * 64
    assert second.curve("train/loss")[-1][0] == STEPS * 64
    assert second.curve("evaluation/val_accuracy") == [(STEPS * 64, 0.95)]
    assert float(second.summary["final/val_accuracy"]) == result.final["val_accuracy"] == 0.95
    assert json.loads(second.summary["status"]) == "succeeded: budget"
    assert second.exit == 0


@pytest.mark.slow
def test_a_real_comparison(tmp_path: Path) -> None:
    command = ("compare", "digits", "--backend", "local", "--modes", "single,sync", "--seeds", "2", "--out", "race")
    done = regatta(*command, "--wandb", "boats", "--samples", "64000", "--target", "none", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WeightsAndBiases" not in done.stderr
    for mode, variant in json.loads(done.stdout)["modes"].items():
        for result in variant["runs"]:
            found = Offline(tmp_path / "race" / "runs" / result["run_id"])
            assert (found.run.display_name, found.run.run_group) == (f"{mode}/seed{result['seed']}", "race")
            assert float(found.summary["final/val_accuracy"]) == result["final"]["val_accuracy"]
            assert found.curve("train/loss")[-1][0] == 64000
            assert found.curve("evaluation/val_accuracy")[-1] == (64000, result["final"]["val_accuracy"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "its client is not installed: pip install 'regatta[wandb]'"),
        pytest.param("no login", "API key", marks=pytest.mark.slow),
        pytest.param("no server", "", marks=pytest.mark.slow),
        pytest.param("ends", "the process that logs ended (exit code 7)", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_with_it_is_said_once(
    fault: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if fault in ("missing", "ends"):
        module = "raise ImportError" if fault == "missing" else "import os; os._exit(7)"
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "wandb.py").write_text(module)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    else:
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        if fault == "no server":
            monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with sinks_ready(RunSpec.make({"job": "digits", "wandb": "boats"})):
        for seed in range(2):
            (tmp_path / f"r{seed}").mkdir()
            runner = a_runner(tmp_path / f"r{seed}", seed=seed)
            train(runner, 1, STEPS)
            assert end(runner).status == "succeeded"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "regatta"]
    assert line.startswith("r0: WeightsAndBiases failed: ")
    assert said in line


def test_a_project_has_a_plain_name() -> None:
    for name in ("", "a/b/c", "a b", "/x", "x/"):
        with pytest.raises(SpecError, match="wandb"):
            RunSpec.make({"job": "digits", "wandb": name})


def test_nothing_waits_for_a_process_that_takes_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "wandb.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    monkeypatch.setattr(wandb, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(wandb, "END_SECONDS", 1.0)
    with sinks_ready(RunSpec.make({"job": "digits", "wandb": "boats"})):
        runner = a_runner(tmp_path / "r")
        train(runner, 1, STEPS)
        end(runner)
        assert not wandb._client
