"""The trials of a sweep with a real study, and runs that end as they are told: pruning, failures, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Idle
from orchestrator.errors import UsageError
from orchestrator.report import show, write_reports
from orchestrator.results import RunResult, Sweep
from orchestrator.runs.execution import Schedule
from orchestrator.runs.planned import Planned
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import SweepSpec
from orchestrator.store.directory import write_sweep, write_sweep_spec
from orchestrator.store.folders import is_comparison, is_sweep
from orchestrator.sweep import search
from orchestrator.sweep.plan import stored_sweep_spec
from orchestrator.sweep.search import Search
from orchestrator.view.catalog import list_runs
from tests.made import status
from workers.messages import Task
from workers.news import Evaluation, Stamp

Outcome = Callable[[Planned], RunResult]


def spec(trials: int = 6, params: Mapping[str, str] | None = None, **fields: Any) -> SweepSpec:
    run = RunSpec.make({"job": "digits", "samples": 6400, "mode": "single", **fields})
    searched = params or {"learning_rate": "log:1e-4..1e-1"}
    return SweepSpec(run=run, params=searched, trials=trials, metric="val_accuracy", direction="maximize")


def result(planned: Planned, value: float | None, how: str = "succeeded", reason: str = "budget") -> RunResult:
    final = {} if value is None else {"val_accuracy": value}
    return RunResult(
        run_id=planned.run_id, job="digits", mode="single", seed=0, status=how, stop_reason=reason, tasks={},
        final=final, steps=10,
    )  # fmt: skip


def rate_is_score(planned: Planned) -> RunResult:
    assert planned.spec.learning_rate is not None
    return result(planned, planned.spec.learning_rate)


class Executions:
    """Stands in for `Execution`; every call of `run` is a session."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.sessions: list[list[str]] = []
        self.trained: list[list[str]] = []

    def __call__(self, timeout: float | None, watcher: object) -> Executions:
        return self

    def run(self, first: Sequence[Planned], schedule: Schedule) -> None:
        self.sessions.append([planned.spec.variant_name for planned in first])
        self.trained.append([])
        planned = next(schedule, None)
        while planned is not None:
            assert planned.spec.variant_name in self.sessions[-1], "no group of the session can train it"
            self.trained[-1].append(planned.run_id)
            try:
                planned = schedule.send(self.outcome(planned))
            except StopIteration:
                return


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """The folder of the sweep, in a folder of its own."""
    (tmp_path / "runs" / "one").mkdir(parents=True)
    return tmp_path / "runs" / "one"


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Sweep, Executions]]:
    def call(of: SweepSpec, outcome: Outcome = rate_is_score) -> tuple[Sweep, Executions]:
        executions = Executions(outcome)
        monkeypatch.setattr(search, "Execution", executions)
        write_sweep_spec(tmp_path, of.model_dump(mode="json"))
        found = Search(of, tmp_path, None, lambda sweep, best: write_sweep(tmp_path, sweep, best)).run()
        return found, executions

    return call


Train = Callable[..., tuple[Sweep, Executions]]


def test_trials_of_one_model_share_a_group_and_the_best_is_named(train: Train, tmp_path: Path) -> None:
    found, executions = train(spec())
    assert executions.sessions == [["single"]]
    assert len(executions.trained[0]) == found.ended == 6
    assert found.best_trial is not None
    assert found.best_trial.value == max(trial.value or 0 for trial in found.trials)
    assert found.command == f"regatta run {tmp_path}/best.yaml"
    assert f"learning_rate: {found.best_trial.params['learning_rate']}" in (tmp_path / "best.yaml").read_text()
    assert len({trial.params["learning_rate"] for trial in found.trials}) == 6


def test_the_same_seed_tries_the_same_values(train: Train, tmp_path: Path) -> None:
    first, _ = train(spec(3))
    (tmp_path / "study.db").unlink()
    again, _ = train(spec(3))
    assert [trial.params for trial in again.trials] == [trial.params for trial in first.trials]


def test_groups_beside_each_other_and_one_at_a_time(train: Train, tmp_path: Path) -> None:
    rate = {"learning_rate": "0.1..1"}
    _, beside = train(spec(params=rate | {"batch_size": "8,16"}))
    assert len(beside.sessions) == 1
    assert set(beside.sessions[0]) == {"single batch_size=8", "single batch_size=16"}
    (tmp_path / "study.db").unlink()
    found, one = train(spec(12, params=rate | {"params.hidden": "32,64"}))
    assert all(len(session) == 1 for session in one.sessions)
    assert sum(map(len, one.trained)) == found.ended == 12
    assert len(one.sessions) < 12, "trials of one model that follow each other share its group"
    assert found.importance is not None
    assert found.importance.keys() == {"learning_rate", "params.hidden"}


def test_failed_trials_are_told_and_not_the_best(train: Train) -> None:
    ends = iter([("failed", "nan", None), ("succeeded", "budget", 0.5), ("succeeded", "budget", float("nan"))])

    def outcome(planned: Planned) -> RunResult:
        how, reason, value = next(ends)
        return result(planned, value, how, reason)

    found, _ = train(spec(3), outcome)
    assert [trial.state for trial in found.trials] == ["failed", "finished", "failed"]
    assert found.best == 1


def test_an_interrupted_sweep_goes_on_with_its_trial_and_those_left(train: Train, tmp_path: Path) -> None:
    count = iter(range(100))

    def outcome(planned: Planned) -> RunResult:
        if next(count) == 2:
            return result(planned, None, "stopped", "interrupted")
        return rate_is_score(planned)

    with pytest.raises(KeyboardInterrupt):
        train(spec(5), outcome)
    (entry,) = list_runs(tmp_path.parent)
    assert (entry.kind, entry.status) == ("sweep", "unfinished")
    found, executions = train(stored_sweep_spec(tmp_path, {}))
    assert executions.trained == [[f"{tmp_path.name}-t{number:03d}" for number in (2, 3, 4)]]
    assert found.ended == 5
    assert len({trial.params["learning_rate"] for trial in found.trials}) == 5
    (entry,) = list_runs(tmp_path.parent)
    assert (entry.status, entry.metric, entry.value) == ("finished", "val_accuracy", found.best_trial.value)
    again, executions = train(stored_sweep_spec(tmp_path, {}))
    assert executions.sessions == []
    assert again == found


def test_a_trial_of_the_worst_is_pruned_by_its_evaluations(train: Train) -> None:
    def outcome(planned: Planned) -> RunResult:
        last = planned.run_id.endswith("t005")
        for step in (10, 20, 30):
            stamp = Stamp(planned.run_id, step, step * 8, float(step))
            news = Evaluation(stamp, {"val_accuracy": step / 100 - (0.3 if last else 0)}, 0.1)
            assert planned.stops is not None
            if planned.stops(Tick(Idle(), [status(Task("evaluator", 0), news)])) is not None:
                return result(planned, -0.2, "stopped", "pruned")
        return result(planned, 0.3)

    found, _ = train(spec(6), outcome)
    assert [trial.state for trial in found.trials] == ["finished"] * 5 + ["pruned"]
    assert found.trials[5].value == pytest.approx(-0.2)
    unpruned, _ = train(spec(7).model_copy(update={"prune": False}), outcome)
    assert unpruned.trials[6].state == "finished"


def test_an_unknown_metric_ends_the_sweep_with_the_nearest_name(train: Train) -> None:
    with pytest.raises(UsageError, match=r"metric: 'val_accuracy' is not among .*val_acc.* Did you mean val_acc\?"):
        train(spec(3), lambda planned: result(planned, None).model_copy(update={"final": {"val_acc": 1.0}}))


def test_the_report_of_a_sweep(train: Train, tmp_path: Path) -> None:
    found, _ = train(spec(9, params={"learning_rate": "log:1e-4..1e-1", "batch_size": "8,16"}))
    assert is_sweep(tmp_path)
    assert not is_comparison(tmp_path)
    write_reports(tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for shown in (page, text):
        assert f"in trial {found.best}" in shown
        assert "log:1e-4..1e-1" in shown
    assert page.count('class="chart"') == 2
    assert 'class="sortable"' in page
    assert "9 of 9 trials ended: 9 finished" in text
    document, _ = show(tmp_path)
    assert document == json.loads((tmp_path / "sweep.json").read_text())


def test_long_values_that_begin_alike_are_not_trained_in_one_group(train: Train) -> None:
    """The name of a group is short, and its tasks have the values of its first trial."""
    path = "folder/" * 12
    groups: dict[str, set[str]] = {}

    def outcome(planned: Planned) -> RunResult:
        groups.setdefault(planned.spec.variant_name, set()).add(planned.spec.params["cell"])
        return result(planned, 0.5)

    train(spec(8, params={"params.cell": f"{path}a,{path}b"}), outcome)
    assert sorted(map(sorted, groups.values())) == [[f"{path}a"], [f"{path}b"]]
    assert all(len(name) <= 80 for name in groups)
