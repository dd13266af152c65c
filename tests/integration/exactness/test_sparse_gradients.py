"""Sparse gradients of two workers are those of one process, also where rows vary from step to step."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.sparse import KINDS
from tests.integration.local_runs import ApartGroup, KeepingGroup, train
from tests.marked import slow

FAST = [("each_row_once", "adam", KeepingGroup)]
CASES = [
    *((kind, "adam", KeepingGroup) for kind in KINDS),
    *((kind, "sgd", KeepingGroup) for kind in KINDS[:1]),
    ("varying_rows", "adam", ApartGroup),
    ("each_row_once", "adam", ApartGroup),
]


@pytest.mark.parametrize(("kind", "optimizer", "group"), [*FAST, *(slow(*case) for case in CASES if case not in FAST)])
def test_two_workers_are_one_process(kind: str, optimizer: str, group: type[KeepingGroup]) -> None:
    batch, steps = side_by_side.BATCH, side_by_side.STEPS
    params = {"kind": kind, "optimizer": optimizer}
    two = train(
        "sparse.py",
        seeds=(side_by_side.SEED,),
        kind=group,
        mode="sync",
        workers=2,
        batch_size=batch,
        samples=steps * 2 * batch,
        steps_per_call=4,
        params=params,
    )[0]
    one = side_by_side.plain("sparse.py", params, 2)
    np.testing.assert_allclose(two.losses, [logs["loss"] for logs in one["logs"]], rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(two.final.weights, one["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)
