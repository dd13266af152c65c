"""What of a run's spec is the judged fit's alone, and what its earlier fits share."""

from __future__ import annotations

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.before_judged import before_judged
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit

FITS = (
    {"line": "t.py:3", "global_batch_size": 64, "epochs": 2},
    {"line": "t.py:9", "global_batch_size": 32, "epochs": 1, "eval_steps": 4},
)


def test_each_fit_has_its_own_budget_and_the_runs_mode() -> None:
    judged = {"target": "val_loss<=0.1", "samples": 640, "learning_rate": 0.5, "eval_every": 64, "out": "here"}
    spec = RunSpec.make({"job": "t.py", "params": {"fit": 3}, "workers": 4, "earlier_fits": FITS, "seed": 7, **judged})
    first, second = before_judged(spec)
    assert (first.batch_size, second.batch_size) == (16, 8)
    assert (first.epochs, second.epochs, second.eval_steps) == (2, 1, 4)
    for number, run in enumerate((first, second), 1):
        assert run.params["fit"] == number
        assert (run.mode, run.workers, run.seed, run.ends_at_fit, run.files_apart) == ("sync", 4, 7, True, True)
        assert (run.target, run.samples, run.learning_rate, run.eval_every, run.out) == (None,) * 5
        assert not run.earlier_fits


def test_a_fit_that_cannot_be_shared_is_named() -> None:
    spec = RunSpec.make({"job": "t.py", "params": {"fit": 3}, "workers": 3, "earlier_fits": FITS})
    with pytest.raises(SpecError, match=r"in fit 1 \(t.py:3\)"):
        before_judged(spec)
