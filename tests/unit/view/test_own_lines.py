"""The user's own lines, told from those of TensorFlow, as the log comes in pieces."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Idle
from orchestrator.spec.run import RunSpec
from orchestrator.view.live import LiveView
from orchestrator.view.own_lines import OwnLines, Routine
from tests.made import status
from workers.messages import Printed, Task

pytestmark = pytest.mark.unit

LOG = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795972684.025895   20569 coordination_service.cc:221] Initializing CoordinationService
/job:worker/replica:0/task:0
regatta: 2 workers on this host exchange gradients through shared memory
2026-11-29 16:00:00.123456: W tensorflow/core/framework.cc:1] something
built a model of 3 layers
1/10 [=>....]\r2/10 [==>...]\r10/10 [=====] done

epoch 1: loss 0.5 \xe2\x98\x83
"""
OWN = ["built a model of 3 layers", "10/10 [=====] done", "epoch 1: loss 0.5 \N{SNOWMAN}"]


@pytest.mark.parametrize("size", [1, 7, len(LOG)])
def test_only_the_users_lines_are_left(size: int) -> None:
    log = OwnLines()
    pieces = [LOG[i : i + size] for i in range(0, len(LOG), size)]
    assert [line for piece in pieces for line in log.read(piece)] == OWN


def test_routine_is_told_from_errors_and_from_the_users_lines() -> None:
    lines = [
        "E0000 00:00:1796098232.529248 4011 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
        "I0000 00:00:1796098232.893868 4842 eager_service_impl.cc:355] SessionOptions: goo.gle/debugproto",
        "device_count {",
        '  key: "CPU"',
        "  value: 1",
        "}",
        "",
        "value: 3",
        "E0000 00:00:1796098232.529248 4011 collective.cc:1] aborted",
        "2026-11-29 16:00:00.123456: I tensorflow/core/framework.cc:1] something",
        "2026-11-29 16:00:00.123456: W tensorflow/core/framework.cc:1] something",
        "loss {",
    ]
    is_routine = Routine()
    assert [n for n, line in enumerate(lines) if not is_routine(line)] == [7, 8, 10, 11]


@pytest.mark.parametrize(("verbose", "script"), [(True, False), (False, False), (True, True)])
def test_they_are_shown_if_asked_for_and_once(tmp_path: Path, verbose: bool, script: bool) -> None:
    shown, output = io.StringIO(), io.StringIO()
    view = LiveView(Console(file=shown, width=80), verbose=verbose, output=Console(file=output, width=80))
    view.run_begins(RunSpec(job="digits", mode="sync"), "r", tmp_path)
    leader, other = Task("worker", 0), Task("worker", 1)
    news = [Printed("built a model of 3 layers\n")] if script else []
    view.training(Tick(Idle(), [status(leader, *news, log=LOG), status(other, log=b"of another worker\n")]))
    lines = [line for line in OWN if line in shown.getvalue()]
    assert lines == (OWN if verbose and not script else [])
    assert "another worker" not in shown.getvalue()
    assert output.getvalue() == ("built a model of 3 layers\n" if script else "")
