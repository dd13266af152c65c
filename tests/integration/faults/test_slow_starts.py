"""A task that is not ready in time: the message says where it waits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.control.orders import GiveUp, Relaunch
from orchestrator.errors import ClusterError
from orchestrator.spec.run import RunSpec
from tests.integration.local_runs import JOBS, ObservedBackend, opened

SECONDS = 15.0


def message(where: str, folder: Path) -> str:
    """What the driver says of a group that is not ready within `SECONDS`."""
    params = {"where": where}
    fields = {"mode": "sync", "workers": 1, "samples": 640, "launch_timeout": SECONDS, "out": str(folder)}
    spec = RunSpec.make({"job": "waiting.py:Waiting", "directory": str(JOBS), "params": params, **fields})
    with opened(spec, ObservedBackend()) as session:
        group = session.groups[spec.variant_name]
        group.launch()
        try:
            # Later than the task believes, because a busy machine forks it late.
            outcome = group.coordinator.await_ready(time.monotonic() + 3 * SECONDS, lambda _: None)
        except ClusterError as error:
            return str(error)
    assert isinstance(outcome, Relaunch | GiveUp)
    return outcome.cause.summary


@pytest.mark.slow
@pytest.mark.parametrize("where", ["train_dataset", "build_model"])
def test_the_jobs_line_is_named(where: str, tmp_path: Path) -> None:
    said = message(where, tmp_path)
    assert f"in {where} (waiting.py:" in said
    assert "missing:" in said
