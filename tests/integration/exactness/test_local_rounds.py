"""Local SGD is what its definition says: steps apart, then the mean of the states, and DiLoCo's outer step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, ApartGroup, Trained, train
from tests.marked import slow
from workers.messages import PREEMPTED
from workers.modes.local import LocalMode
from workers.modes.mode import Consult, Decision
from workers.settings import ReplicaSettings

STEPS, BATCH, WORKERS = 22, 16, 2
TOLERANCE = 1e-6
SETTINGS: dict[str, Any] = {"workers": WORKERS, "batch_size": BATCH, "samples": STEPS * WORKERS * BATCH}


def by_definition(
    every: int, *, outer: tuple[float, float] | None = None, workers: int = WORKERS
) -> tuple[list[float], list[np.ndarray]]:
    """Mean losses of each step and the final weights, of models in this process that meet every `every` steps."""
    import keras

    from jobs.api import DataContext

    job_class = load_job_class("exact.py", str(JOBS))
    job = job_class(validate_params(job_class, {}))
    models = []
    for _ in range(workers):
        keras.utils.set_random_seed(0)
        models.append(job.build_model())
        models[-1].optimizer.build(models[-1].trainable_variables)
    batches = list(job.train_dataset(DataContext(BATCH)).take(STEPS * workers))
    start = [v.numpy() for v in models[0].trainable_variables]
    momentum = [np.zeros_like(value) for value in start]
    losses = []
    for step in range(STEPS):
        own = [m.train_on_batch(*batches[step * workers + w], return_dict=True)["loss"] for w, m in enumerate(models)]
        losses.append(float(np.mean(own)))
        for model in models:
            model.reset_metrics()
        if (step + 1) % every and step + 1 < STEPS:
            continue
        states = [[*model.trainable_variables, *model.optimizer.variables] for model in models]
        floats = [group for group in zip(*states, strict=True) if "float" in str(group[0].dtype)]
        means = [np.mean([v.numpy() for v in group], axis=0) for group in floats]
        if outer is not None:
            rate, decay = outer
            for p, value in enumerate(start):
                change = value - means[p]
                momentum[p] = decay * momentum[p] + change
                start[p] = means[p] = value - rate * (change + decay * momentum[p])
        for group, mean in zip(floats, means, strict=True):
            for variable in group:
                variable.assign(mean)
    return losses, [weight.numpy() for weight in models[0].weights]


def check(trained: Trained, losses: list[float], weights: list[np.ndarray]) -> None:
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-5)
    for ours, theirs in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("mode", "every", "outer"),
    [
        ("local:8,outer=nesterov,outer_lr=0.7,outer_momentum=0.9", 8, (0.7, 0.9)),  # the last round has six steps
        slow("local:1", 1, None),
        slow("local:4", 4, None),
    ],
)
def test_it_is_its_definition(mode: str, every: int, outer: tuple[float, float] | None) -> None:
    trained = train("exact.py", mode=mode, **SETTINGS)[0]
    check(trained, *by_definition(every, outer=outer))
    assert b"through shared memory" in trained.log["worker:1"]


@pytest.mark.slow
def test_a_lone_worker_has_the_outer_optimizer_too() -> None:
    """As after a run has shrunk to one worker: the algorithm is still the one that was asked for."""
    settings = SETTINGS | {"workers": 1, "samples": STEPS * BATCH}
    trained = train("exact.py", mode="local:8,outer=nesterov", **settings)[0]
    check(trained, *by_definition(8, outer=(0.7, 0.9), workers=1))


@pytest.mark.slow
def test_workers_on_two_hosts_meet_through_collectives() -> None:
    trained = train("exact.py", kind=ApartGroup, mode="local:4", **SETTINGS)[0]
    assert b"through shared memory" not in trained.log["worker:1"]
    check(trained, *by_definition(4))


@pytest.mark.slow
def test_rounds_of_one_step_of_sgd_are_sync() -> None:
    ours = train("exact.py", mode="local:1", params={"sgd": True}, **SETTINGS)[0]
    sync = train("exact.py", mode="sync", params={"sgd": True}, **SETTINGS)[0]
    np.testing.assert_allclose(ours.losses, sync.losses, rtol=TOLERANCE)
    for mine, theirs in zip(ours.final.weights, sync.final.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
def test_snapshots_epochs_and_stops_wait_for_the_end_of_a_round(tmp_path: Path) -> None:
    """A run that is interrupted and resumed is the uninterrupted one, the outer momentum included."""
    steps, every = 400, 7
    settings = {"workers": WORKERS, "batch_size": 8, "samples": steps * WORKERS * 8, "steps_per_call": 4}
    settings |= {
        "mode": f"local:{every},outer=nesterov",
        "eval_every": 80,
        "params": {"rows": 2000, "schedule": False, "called": True},
    }
    first = train("random_parts.py", attempt=1, preempted_at=25, folder=tmp_path, **settings)[0]
    second = train("random_parts.py", attempt=2, folder=tmp_path, **settings)[0]
    alone = tmp_path / "alone"
    alone.mkdir()
    whole = train("random_parts.py", folder=alone, **settings)[0]
    assert first.ended is not None
    assert first.ended.finished.stopped == PREEMPTED
    assert 25 <= first.ended.finished.steps < steps
    for stamp in (*first.snapshots, *second.snapshots, *whole.snapshots):
        assert stamp.step % every == 0 or stamp.step == steps
    np.testing.assert_allclose([*first.losses, *second.losses], whole.losses, rtol=TOLERANCE)
    for ours, theirs in zip(second.final.weights, whole.final.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("step", "proposed", "consult", "most", "expected"),
    [
        (0, 1, Consult.NEVER, 100, 16),  # a round in one call
        (5, 1, Consult.CALLS, 100, 11),  # what is left of it
        (0, 1, Consult.NEVER, 7, 7),  # no further than the next checkpoint
        (0, 40, Consult.NEVER, 100, 40),  # short steps: several rounds
        (5, 1, Consult.BATCH_ENDS, 100, 1),  # callbacks see every batch
    ],
)
def test_a_call_does_not_end_within_a_round(
    step: int, proposed: int, consult: Consult, most: int, expected: int
) -> None:
    """Workers agree at the end of a call, and there each would wait for the slowest."""
    mode = LocalMode.__new__(LocalMode)
    mode.round_steps, mode.step, mode._settings = 16, step, ReplicaSettings(job="exact.py", mode="local:16")
    assert mode._steps(Decision(steps=proposed, consult=consult), most) == expected
    mode.round_steps = 1000
    assert mode._steps(Decision(steps=proposed, consult=consult), most) == min(proposed, most)  # it would last too long
