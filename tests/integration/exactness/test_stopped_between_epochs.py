"""A run that is stopped, to be resumed, at any step: the callbacks of both parts see what those of a whole run see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_runs import JOBS
from tests.integration.side_by_side import share_one_strategy
from tests.made import assignment, leg
from workers.messages import PREEMPTED, Checkpointing, Start, Task

BATCH, EPOCH, STEPS = 16, 32, 96
REPLICAS = {"single": 1, "sync": 2}
STOPS = (28, EPOCH, 36, 2 * EPOCH)


def settings(mode: str) -> dict[str, Any]:
    per_step = BATCH * REPLICAS[mode]
    return {
        "job": "called.py:Called",
        "directory": str(JOBS),
        "mode": mode,
        "params": {"rows": per_step * EPOCH, "set": "epochs"},
        "batch_size": BATCH,
        "samples": per_step * STEPS,
        "steps_per_call": 4,
        "eval_every": per_step * STEPS,
        "seed": 3,
    }


@pytest.fixture(scope="module", params=["single", "sync"])
def notes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """What the callbacks noted, by the step at which the run was stopped; 0: it was not."""
    folder = tmp_path_factory.mktemp("stopped")
    command = [sys.executable, "-P", "-m", __spec__.name, request.param, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return {stop: (folder / str(stop) / "notes.txt").read_text().splitlines() for stop in (0, *STOPS)}


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS)
def test_no_epoch_is_lost_or_ended_twice(notes: dict[int, list[str]], stop: int) -> None:
    begins, *first = notes[stop]
    again = first.index("begin")
    assert begins == "begin"
    assert first[:again] + first[again + 1 :] == notes[0][1:]
    assert len([note for note in notes[0] if note.startswith("epoch")]) == STOPS[-1] // EPOCH + 1


def main(mode: str, folder: Path) -> None:
    """Train as a whole, and with a stop after each of STOPS, each in a folder of its own."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS[mode])
    share_one_strategy()
    for stop in (0, *STOPS):
        (folder / str(stop)).mkdir()
        start, snapshot = _train(mode, folder / str(stop), stop, None, None)
        if stop:
            assert start.step == stop
            _train(mode, folder / str(stop), 0, start, snapshot)


def _train(mode: str, folder: Path, stop: int, start: Start | None, snapshot: Any) -> tuple[Start, Any]:
    """One leg, stopped after step `stop` unless 0; returns where its last checkpoint continues, and its snapshot."""
    import keras

    from jobs.loading import load_job_class, validate_params
    from workers.modes.mode import make_mode
    from workers.training.loop import train
    from workers.training.trainer import Trainer
    from workers.wire import SnapshotTaken

    config = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    task = assignment(Task("worker", 0), config, **settings(mode))
    job_class = load_job_class(task.settings.job, task.settings.directory)
    job = job_class(validate_params(job_class, task.settings.params))
    taken: list[Any] = []
    trainer = Trainer(task, job, make_mode(task, job), taken.append)

    class Stopping(keras.callbacks.Callback):  # type: ignore[misc]
        """Asks for the stop that the driver would ask for, just after step `stop`."""

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.before = epoch * EPOCH

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if stop and self.before + batch + 1 == stop:
                trainer.request_stop(PREEMPTED, 0)

    called = job.callbacks()
    job.callbacks = lambda: [*called, Stopping()]
    trainer.prepare()
    kept = Checkpointing("nowhere", 1)
    train(trainer, leg(of=task.settings, directory=str(folder), start=start, checkpoints=kept), snapshot)
    last = [event.snapshot for event in taken if isinstance(event, SnapshotTaken)][-1]
    return Start(last.step, last.samples, last.clock, position=last.position), last


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
