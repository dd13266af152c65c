"""A fit that is called otherwise than when its run was planned is refused, unless the user has chosen the numbers."""

from __future__ import annotations

import pytest

from jobs.scripts.as_tried import check
from jobs.scripts.errors import ScriptError
from orchestrator.spec.earlier_fits import as_given
from orchestrator.spec.variants import merge

pytestmark = pytest.mark.unit

TRIED = [
    {"epochs": 3, "global_batch_size": 32, "eval_steps": None},
    {"epochs": 2, "global_batch_size": 16, "eval_steps": 4},
]


def refused(now: dict[str, float], fit: int, *, is_earlier: bool = False) -> str:
    with pytest.raises(ScriptError) as found:
        check(now, TRIED, fit, "train.py", is_earlier=is_earlier)
    return str(found.value)


def test_other_numbers_are_refused_with_what_to_give() -> None:
    check({"epochs": 2, "global_batch_size": 16, "eval_steps": 4}, TRIED, 2, "train.py", is_earlier=False)
    check({"epochs": 3, "global_batch_size": 32}, TRIED, 1, "train.py", is_earlier=True)
    said = refused({"epochs": 5, "global_batch_size": 64, "eval_steps": 4}, 2)
    assert "called with epochs=2, batch_size=16 when the run was planned" in said
    assert said.endswith(
        "now called with epochs=5, batch_size=64. Give --epochs 5 --global-batch-size 64 to train it so."
    )
    assert "--eval-steps N" in refused({"epochs": 2, "global_batch_size": 16}, 2)
    assert "has to be called with the same numbers" in refused(
        {"epochs": 4, "global_batch_size": 32}, 1, is_earlier=True
    )


def test_a_fit_that_was_not_tried_is_not_checked() -> None:
    check({"epochs": 1}, [], 1, "train.py", is_earlier=False)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"epochs": 9}, {"global_batch_size", "eval_steps"}),
        ({"samples": 100}, {"global_batch_size", "eval_steps"}),
        ({"batch_size": 8, "epochs": None}, {"epochs", "eval_steps"}),
        ({"eval_steps": 1, "global_batch_size": 8}, {"epochs"}),
    ],
)
def test_what_the_user_chooses_replaces_what_the_judged_fit_says(given: dict[str, int | None], left: set[str]) -> None:
    for params in (as_given({"as_tried": TRIED}, given), merge({"params": {"as_tried": TRIED}}, given)["params"]):
        earlier, judged = params["as_tried"]
        assert earlier == TRIED[0]
        assert judged.keys() == left
    assert len(TRIED[1]) == 3
    assert as_given({"fit": 1}, given) == {"fit": 1}
