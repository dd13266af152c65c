"""`dataset.cache(path)`: one file for several workers is refused before training, a file per worker trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.integration.local_runs import Broken, train
from tests.marked import slow
from workers.messages import FailureKind


@pytest.mark.parametrize(("job", "mode"), [("OneFile", "sync"), slow("OneFile", "async")])
def test_a_file_that_several_workers_would_write(tmp_path: Path, job: str, mode: str) -> None:
    params = {"path": str(tmp_path / "cache")}
    with pytest.raises(Broken) as broken:
        train(f"cached.py:{job}", mode=mode, workers=2, batch_size=16, samples=320, params=params)
    assert broken.value.cause.kind is FailureKind.SPEC
    file = tmp_path / "cache"
    assert f"train_dataset caches in the file {file}, which the 2 workers would write" in str(broken.value)
    assert "Cache in memory, with .cache() or --cache" in str(broken.value)


@pytest.mark.parametrize(
    ("job", "mode", "workers"),
    [("OwnFiles", "sync", 2), slow("OwnFiles", "async", 2)],
)
def test_a_file_for_each_worker_trains(tmp_path: Path, job: str, mode: str, workers: int) -> None:
    params = {"path": str(tmp_path / "cache")}
    (trained,) = train(f"cached.py:{job}", mode=mode, workers=workers, batch_size=16, samples=16_000, params=params)
    assert trained.ended is not None
    assert np.isfinite(trained.losses).all()
    assert list(tmp_path.glob("cache*.index"))
