"""What is exported through Ray, without Ray."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.sinks.ray_metrics import RayMetrics
from orchestrator.spec.run import RunSpec
from tests.made import status
from workers.messages import Task
from workers.news import Evaluation, Stamp, StepBatch

pytestmark = pytest.mark.unit


class Recording:
    """A metric that takes ASCII only, as Ray's do."""

    def __init__(self) -> None:
        self.set_to: list[tuple[float, dict[str, str]]] = []

    def set(self, value: float, tags: dict[str, str]) -> None:
        for tag in tags.values():
            tag.encode("ascii")
        self.set_to.append((value, tags))


@pytest.mark.parametrize(
    ("run_id", "tag"), [("plain-1", "plain-1"), ("läufe", "l\\xe4ufe"), ("実行", "\\u5b9f\\u884c")]
)
def test_tags_are_ascii(run_id: str, tag: str) -> None:
    sink = RayMetrics(RunSpec.make({"job": "digits"}), run_id)
    losses, scores = Recording(), Recording()
    sink._metrics = {"regatta_loss": losses, "regatta_evaluation": scores}
    batch = StepBatch(run_id, 0, np.array([1]), np.array([0.1]), np.array([0.5]), None, 0.1, {})
    evaluation = Evaluation(Stamp(run_id, 1, 32, 0.1, final=False), {"val_größe": 2.0}, 0.1)
    sink.observe(status(Task("worker", 0), batch, evaluation))
    assert losses.set_to[0][0] == 0.5
    assert losses.set_to[0][1]["run_id"] == scores.set_to[0][1]["run_id"] == tag
    assert scores.set_to[0][1]["metric"] == "val_gr\\xf6\\xdfe"
