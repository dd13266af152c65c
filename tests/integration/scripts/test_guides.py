"""Scripts in the style of Keras' and TensorFlow's guides give, unchanged, what plain Python gives."""

from __future__ import annotations

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec.resolve import resolve_run
from tests.integration.local_runs import train
from tests.integration.scripts.test_unchanged_scripts import plain, printed
from tests.marked import fast

GUIDES = Path(__file__).parent.parent / "guides"
DIFFERENT_IN_SYNC = {
    "gan": "random numbers of each replica",
    "image_folder": "Dropout",
    "transfer": "BatchNormalization: with `fit`, Keras 3 gives the base training=True, whatever it was called with",
}
"""Guides for which docs/exactness.md promises less than the numbers of one process, and why."""
NOT_MEANS = {"fp", "recall"}
"""Metrics of training that are logged as means over steps (docs/scripts.md)."""


def histories(folder: Path, guide: str) -> dict[str, dict[str, Any]]:
    """What `fit` returns to the script in `folder` under plain Python, and in each mode."""
    script = f"{guide}.py"
    shutil.copy(GUIDES / script, folder)
    (folder / "alone").mkdir()
    shutil.copy(GUIDES / script, folder / "alone")
    with ThreadPoolExecutor() as pool:
        alone = pool.submit(plain, script, cwd=folder / "alone")
        spec = resolve_run(str(folder / script), {"checkpoint_seconds": 0, "directory": str(folder)})
        found = {"plain": printed(alone.result(), "history")}
    given = spec.model_dump(include={"directory", "params", "epochs", "global_batch_size", "checkpoint_seconds"})
    for mode, workers in (("single", 1), ("sync", 2), ("async", 2)):
        run = folder / mode
        run.mkdir()
        fields = {"job": script, "mode": mode, "workers": workers, "files_apart": True, "launch_timeout": 400, **given}
        (trained,) = train(folder=run, **fields)
        leader = "chief:0" if mode == "async" else "worker:0"
        found[mode] = printed(trained.log[leader].decode().replace("\r", "\n"), "history")
    return found


@pytest.mark.parametrize("guide", fast(sorted(p.stem for p in GUIDES.glob("*.py")), "structured"))
def test_a_guide_gives_what_plain_python_gives(guide: str, tmp_path: Path) -> None:
    found = histories(tmp_path, guide)
    expected = found.pop("plain")
    for mode, history in found.items():
        assert history.keys() == expected.keys(), mode
        for name, values in expected.items():
            assert len(history[name]) == len(values), (mode, name)
            assert all(map(math.isfinite, history[name])), (mode, name)
            exact = mode == "single" or (mode == "sync" and guide not in DIFFERENT_IN_SYNC)
            if exact and name not in NOT_MEANS:
                assert history[name] == pytest.approx(values, rel=1e-5, abs=1e-6), (mode, name)
