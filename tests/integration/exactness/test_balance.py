"""Uneven workers with uneven shares: the same computation as one process on the joined batch, sooner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.loading import load_job_class
from tests.integration.local_runs import JOBS, Trained, train
from tests.marked import slow
from workers.messages import Position, Taken

STEPS, BATCH, WORKERS = 40, 16, 2
TOLERANCE = 1e-6
SLOW = "persistent:worker=1,factor=4,step=0.01"


def balanced(job: str = "exact.py", workers: int = WORKERS) -> Trained:
    samples = STEPS * workers * BATCH
    settings = {"samples": samples, "straggler": SLOW, "steps_per_call": 1, "balance": True}
    return train(job, mode="sync", workers=workers, batch_size=BATCH, **settings)[0]


def one_process(joined: int, job: str = "exact.py") -> tuple[list[float], list[np.ndarray]]:
    """Plain Keras in this process, on the samples of all workers together."""
    import keras

    from jobs.api import DataContext

    made = load_job_class(job, str(JOBS))()
    keras.utils.set_random_seed(0)
    model = made.build_model()
    losses = []
    for batch in made.train_dataset(DataContext(BATCH)).rebatch(joined).take(STEPS):
        model.reset_metrics()
        losses.append(model.train_on_batch(*batch, return_dict=True)["loss"])
    return losses, [weight.numpy() for weight in model.weights]


def assert_same(trained: Trained, losses: list[float], weights: list[np.ndarray]) -> None:
    assert len(trained.losses) == STEPS
    np.testing.assert_allclose(trained.losses, losses, rtol=TOLERANCE)
    for ours, theirs in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def shares(trained: Trained) -> tuple[int, ...]:
    assert trained.ended is not None
    return trained.ended.plan.shares


@pytest.mark.parametrize("workers", [2, slow(3)])
def test_it_equals_one_process_on_the_joined_batch(workers: int) -> None:
    trained = balanced(workers=workers)
    dealt = shares(trained)
    assert sum(dealt) == workers * BATCH
    assert len(set(dealt)) > 1
    assert dealt[1] == min(dealt)
    assert_same(trained, *one_process(workers * BATCH))


def test_losses_that_are_sums_count_every_sample_once() -> None:
    trained = balanced("summed.py")
    assert len(set(shares(trained))) > 1
    assert_same(trained, *one_process(WORKERS * BATCH, "summed.py"))


@pytest.mark.slow
def test_the_command_tells_the_shares_and_the_comparison_has_all(cli: Any, tmp_path: Path) -> None:
    done = cli(
        "compare",
        "digits",
        "--balance",
        "--seeds",
        "1",
        "--samples",
        "6400",
        "--straggler",
        SLOW.replace("step=0.01", "step=0.04"),  # so that the sleeps outweigh what a busy machine adds
        "--out",
        "c",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    modes = json.loads(done.stdout)["modes"]
    assert list(modes) == ["single", "sync", "sync --balance", "async"]
    _, plain, even, free = (modes[name]["runs"][0] for name in modes)
    assert sum(even["shares"]) == 64
    assert even["shares"][1] < even["shares"][0]
    assert plain["shares"] is free["shares"] is None
    assert even["throughput"]["samples_per_s"] > plain["throughput"]["samples_per_s"]
    for report in ("report.md", "report.html"):
        assert "sync --balance" in (tmp_path / "c" / report).read_text().replace("&#45;", "-")


class TestData:
    """What each worker reads, without training: three workers, six steps."""

    SHARES = (30, 2, 16)

    @pytest.fixture(params=["whole batches", "sharded by the job"])
    def job(self, request: pytest.FixtureRequest) -> Any:
        import tensorflow as tf

        made = load_job_class("exact.py", str(JOBS))()
        if request.param == "sharded by the job":
            numbers = tf.data.Dataset.range(1024)
            made.train_dataset = lambda context: numbers.shard(context.num_shards, context.shard_index).batch(
                context.batch_size
            )
        else:
            made.train_dataset = lambda context: tf.data.Dataset.range(1024).batch(context.batch_size)
        return made

    def steps(self, job: Any, shares: tuple[int, ...], position: Position = (), workers: int = 3) -> list[list[int]]:
        """The samples of each step, worker after worker."""
        from tests.made import settings
        from workers.data.stream import training_stream

        streams = [
            training_stream(
                job,
                settings(batch_size=BATCH),
                seed=0,
                num_shards=workers,
                shard_index=worker,
                shares=shares,
                position=position,
            )
            for worker in range(workers)
        ]
        rows = [[batch.numpy().tolist() for batch in stream.take(6)] for stream in streams]
        if shares:
            assert [len(row[0]) for row in rows] == list(shares)
        return [[sample for worker in step for sample in worker] for step in zip(*rows, strict=True)]

    def test_every_step_has_the_samples_it_would_have_anyway(self, job: Any) -> None:
        even, uneven = self.steps(job, ()), self.steps(job, self.SHARES)
        assert uneven == even
        everything = [sample for step in uneven for sample in step]
        assert len(set(everything)) == len(everything) == 6 * 3 * BATCH

    def test_it_resumes_at_the_checkpoint(self, job: Any) -> None:
        whole = self.steps(job, ())
        rest = self.steps(job, self.SHARES, (Taken(3, (2, 2, 2)),))
        assert rest[:4] == whole[2:]
        with_fewer = self.steps(job, (20, 12), (Taken(3, (2, 2, 2)),), workers=2)
        joined = [sample for step in with_fewer for sample in step]
        assert joined[: 4 * 3 * BATCH] == [sample for step in whole[2:] for sample in step]
