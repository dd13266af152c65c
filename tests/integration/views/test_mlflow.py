"""A run as MLflow has it: a real tracking store in SQLite, and a real store of artifacts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.results import RunResult
from orchestrator.runs.runner import Runner
from orchestrator.runs.watcher import NullWatcher
from orchestrator.sinks.fanout import sinks_ready
from orchestrator.sinks.mlflow_client import connect
from orchestrator.spec.run import RunSpec
from tests.made import in_order, status
from tests.unit.runs.test_recorder import W0, batch, ended, evaluation, host
from workers.news import LegStarted

STEPS = 3000


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with contextlib.chdir(folder):  # where MLflow puts artifacts, when the tracking store is a database
        connect(uri)
    return uri


def a_run(uri: str, path: Path, mode: str, **scores: float) -> RunResult:
    """A run that is recorded like any other, from made-up news."""
    spec = RunSpec.make({"job": "digits", "mode": mode, "mlflow": uri, "params": {"hidden": 64}})
    runner = Runner(spec, path, f"run-{mode}", NullWatcher(), {}, command_started=0.0, deadline=None)
    from orchestrator.control.coordinator import Tick
    from orchestrator.control.states import Training

    def add(log: bytes = b"", **news: Any) -> None:
        runner._recorder.tick(1, Tick(Training("r"), [status(W0, *in_order(**news), log=log)]))

    add(leg_started=(LegStarted("r", STEPS, 64, 500),), log=b"a line\n")
    add(batches=tuple(batch(1 + 100 * i, [1 / (1 + i)] * 100) for i in range(STEPS // 100)))
    add(evaluations=(evaluation(1500, val_accuracy=0.9, **scores), evaluation(STEPS, val_accuracy=0.95)))
    add(samples=(host(50.0, 100),))
    return runner._conclude(ended(STEPS, last=evaluation(STEPS, val_accuracy=0.95)))


@pytest.mark.slow
def test_params_metrics_and_artifacts_of_each_run(uri: str, tmp_path: Path) -> None:
    for mode in ("sync", "async"):
        (tmp_path / mode).mkdir()
        a_run(uri, tmp_path / mode, mode)
    client, experiment = connect(uri)
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"run-sync", "run-async"}
    run = runs["run-async"]
    assert run.info.status == "FINISHED"
    assert (run.data.params["mode"], run.data.params["params.hidden"]) == ("async", "64")
    assert run.data.tags["regatta.variant"] == "async"
    assert run.data.metrics["final/val_accuracy"] == 0.95
    assert run.data.metrics["throughput/samples_per_s"] == pytest.approx(6400)

    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert len(losses) == 1000
    assert (losses[0].step, losses[-1].step) == (3 * 64, STEPS * 64)
    assert losses[0].value == pytest.approx(1.0)
    assert losses[-1].timestamp - losses[0].timestamp == pytest.approx(1000 * (STEPS - 3) / 100, abs=50)
    scored = client.get_metric_history(run.info.run_id, "evaluation/val_accuracy")
    assert [(metric.step, metric.value) for metric in scored] == [(1500 * 64, 0.9), (STEPS * 64, 0.95)]

    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"spec.yaml", "plan.json", "result.json", "metrics.db", "logs"} <= files
    local = client.download_artifacts(run.info.run_id, "result.json", str(tmp_path))
    assert json.loads(Path(local).read_text())["run_id"] == "run-async"


def test_the_trained_model_is_loaded_from_there(uri: str, tmp_path: Path) -> None:
    program = """
import sys
import keras
import numpy as np

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.save("run/model.keras")
np.save("expected.npy", model.predict(np.ones((1, 3)), verbose=0))
"""
    (tmp_path / "run").mkdir()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    a_run(uri, tmp_path / "run", "sync")
    client, experiment = connect(uri)
    run = client.search_runs([experiment], order_by=["start_time DESC"])[0].info.run_id
    loading = f"""
import mlflow
import numpy as np

mlflow.set_tracking_uri({uri!r})
model = mlflow.keras.load_model("runs:/{run}/model")
np.testing.assert_array_equal(model.predict(np.ones((1, 3)), verbose=0), np.load("expected.npy"))
"""
    subprocess.run([sys.executable, "-c", loading], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_a_server_that_is_not_there_is_found_out_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path}/file/x.db", "nonsense://x"):
        with pytest.raises(UsageError, match="does not work as a tracking server"):
            sinks_ready(RunSpec.make({"job": "digits", "mlflow": uri})).__enter__()


@pytest.mark.slow
def test_a_deleted_experiment_is_said(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/x.db"
    client, experiment = connect(uri)
    client.delete_experiment(experiment)
    with pytest.raises(UsageError, match=r"^mlflow: .*'regatta' is deleted; restore it"):
        sinks_ready(RunSpec.make({"job": "digits", "mlflow": uri})).__enter__()


NAMES = {
    "top-5 (%)": "evaluation/top-5 ___",
    "précision": "evaluation/précision",
    "../../up": "evaluation/_/_/up",
    "a//b": "evaluation/a/_/b",
    "val_f1_score[0]": "evaluation/val_f1_score_0_",
    "line\nbreak\x1b": "evaluation/line_break_",
    "m" * 400: ("evaluation/" + "m" * 400)[:250],
    "<script>": "evaluation/_script_",
    "top-5 (#)": "evaluation/top-5 ____2",  # and not the history of the first
}


def test_metrics_of_any_name_arrive(uri: str, tmp_path: Path) -> None:
    scores = {name: 0.25 + number for number, name in enumerate(NAMES)}
    a_run(uri, tmp_path, "sync", **scores)
    client, experiment = connect(uri)
    run = client.search_runs([experiment], order_by=["start_time DESC"])[0]
    assert {name: run.data.metrics.get(NAMES[name]) for name in NAMES} == scores
    assert run.info.status == "FINISHED"
