"""Every sample of an epoch is trained on exactly once, however the data are split: counted in real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.local_runs import Broken, Trained, train
from tests.marked import slow
from workers.messages import FailureKind

BATCH, WORKERS = 8, 2


def counts(trained: Trained) -> np.ndarray:
    return np.round(trained.final.weights[0][:, 0]).astype(int)


def run(mode: str, how: str, *, rows: int = 96, epochs: float = 1, **fields: Any) -> Trained:
    step = BATCH * (WORKERS if mode == "sync" else 1)
    params = {"rows": rows, "step": step, "how": how, "files": fields.pop("files", "")}
    return train("counting.py", mode=mode, workers=WORKERS, batch_size=BATCH, epochs=epochs, params=params, **fields)[0]


@pytest.fixture
def files(tmp_path: Path) -> str:
    for number in range(4):
        lines = (str(sample) for sample in range(24 * number, 24 * (number + 1)))
        (tmp_path / f"{number}.txt").write_text("\n".join(lines))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("sharding", "how"), [slow("auto", "context"), slow("auto", "unseeded"), ("data", "context"), ("file", "files")]
)
def test_sync_sees_each_sample_once_per_epoch(sharding: str, how: str, files: str) -> None:
    trained = run("sync", how, sharding=sharding, files=files, epochs=2)
    assert counts(trained).tolist() == [2] * 96
    assert trained.ended is not None
    assert trained.ended.finished.samples == 2 * 96
    assert trained.ended.plan is not None
    assert trained.ended.plan.samples_per_epoch == 96


def test_an_epoch_that_does_not_fill_its_last_step_continues_into_the_next() -> None:
    """100 samples in steps of 16: seven steps take 112, the last 12 of them from the second epoch."""
    seen = counts(run("sync", "plain", rows=100))
    assert seen.tolist() == [2] * 12 + [1] * 88


def test_off_gives_every_worker_all_samples_even_where_the_job_would_split_them() -> None:
    assert counts(run("sync", "context", sharding="off", epochs=2)).tolist() == [2] * 96


@pytest.mark.parametrize(("sharding", "how"), [("auto", "plain"), slow("file", "files")])
def test_async_workers_each_go_round_their_own_share(sharding: str, how: str, files: str) -> None:
    trained = run("async", how, sharding=sharding, files=files, epochs=4, steps_per_call=1)
    seen = counts(trained)
    ids = np.arange(96)
    owner = ids // BATCH % WORKERS if how == "plain" else ids // 24 % WORKERS
    taken = [sum(len(batch.steps) for batch in trained.batches if batch.worker == worker) for worker in range(WORKERS)]
    for worker in range(WORKERS):
        mine = seen[owner == worker]
        assert mine.sum() == taken[worker] * BATCH
        assert mine.max() - mine.min() <= 1
    assert sum(taken) * BATCH == 4 * 96


@pytest.mark.parametrize(("how", "words"), [("plain", "reads no files"), ("files", "fewer files than the 2 workers")])
def test_sharding_by_file_needs_files(how: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("\n".join(map(str, range(96))))
    with pytest.raises(Broken) as broken:
        run("sync", how, sharding="file", files=str(tmp_path))
    assert broken.value.cause.kind is FailureKind.SPEC
    assert words in broken.value.cause.summary
