"""The table of docs/exactness.md, "By feature of Keras": each row is tried in each column and does what its cell says.

The table drives the test. A cell begins with one of five words: *exact*, *different*, *refused*, *error* (the user's,
while the step is traced or run, with a hint) or `-` (the column does not have the feature).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration import side_by_side
from tests.integration.jobs_under_test.features import HOLDING, KEPT, TARGETS
from tests.integration.local_runs import ApartGroup, Broken, train
from tests.unit.test_docs_name_tests import ROOT, tables
from workers.messages import FailureKind

COLUMNS = {
    "sync, one worker": ("single", 1),
    "sync, several": ("sync", 2),
    "async, one worker": ("async", 1),
    "async, several": ("async", 2),
}
TOLERANCE = 1e-5
Row = tuple[str, int | None]
"""A feature, and how many of its cases are tried; None: all."""


@dataclass(frozen=True)
class Tried:
    """How a row is tried."""

    job: str
    params: dict[str, Any]
    words: str = ""
    """Part of what a refusal or a hint says."""
    in_logs: bool = False
    """What differs is what is logged, not the weights."""
    on_hosts: bool = False
    """Needs workers in processes of their own."""


AVERAGED = "beyond_the_step.py:Regression"
FEATURES, REPORTED = "features.py", "reported.py"
UNKNOWN = "Counting.calls is used in the training step, but is no variable of the model"
TABLE = "writes to a lookup table in the training step"
CASES = {
    "`use_ema`": [
        Tried(AVERAGED, {"kind": "adam"}),
        Tried(AVERAGED, {"kind": "own"}),
        Tried(REPORTED, {"kind": "by_layer_averaged"}),
    ],
    "`ema_overwrite_frequency`": [
        Tried(AVERAGED, {"kind": "overwritten"}, "ema_overwrite_frequency=5 does not work"),
        Tried(AVERAGED, {"kind": "accumulated"}, "gradient_accumulation_steps=3 does not work"),
    ],
    "a compiled model that has been trained before": [
        Tried(AVERAGED, {"kind": "schedule", "loaded": True}),
        Tried(AVERAGED, {"kind": "adam", "loaded": True}),
        *(Tried(REPORTED, {"kind": kind}) for kind in ("loaded_scale", "loaded_multi", "loaded_pair", "warm_cosine")),
    ],
    "optimizers in attributes": [
        Tried("optimizers.py", {"kept": "nested"}),
        Tried("optimizers.py", {"kept": "helper", "early": True}),
        *(Tried(REPORTED, {"kind": f"held_{kept}"}) for kept in ("named", "slots", "deque")),
    ],
    "an optimizer outside of the model": [
        Tried("optimizers.py", {"kept": "module"}, "which the model does not hold"),
        Tried("optimizers.py", {"kept": "created_in_the_step"}, "in the first step"),
        Tried(REPORTED, {"kind": "held_closure"}, "which the model does not hold"),
    ],
    "sparse gradients": [
        *(Tried("sparse.py", {"kind": kind}) for kind in ("rows", "each_row_once")),
        *(Tried(REPORTED, {"kind": kind}) for kind in ("sparse_tied", "sparse_clipped")),
    ],
    "a table looked up": [Tried("sparse.py", {"kind": "both_ways"}, "table of its own")],
    "batches whose shapes vary": [Tried("sentences.py", {"how": "padded"})],
    "other batches": [Tried("sentences.py", {"how": "bucket"}, "batches of different shapes")],
    "stateful RNNs": [Tried("failing.py:Refused", {"what": "stateful"}, "the layer 'remembers' is stateful")],
    "losses": [
        Tried("losses.py", {"kind": "sum_and_mean_outputs"}),
        Tried("losses.py", {"kind": "own_loss_train_step"}),
    ],
    "losses that combine": [Tried(FEATURES, {"kind": "combined_loss"})],
    "`BatchNormalization`": [Tried(FEATURES, {"kind": "batch_norm"})],
    "`Dropout`": [Tried(FEATURES, {"kind": "dropout"})],
    "metrics that are no means": [Tried(FEATURES, {"kind": "auc"}, in_logs=True)],
    "metrics that are vectors": [Tried("vectors.py", {"metric": "matrix"}, in_logs=True)],
    "metrics whose result is a dict": [Tried(REPORTED, {"kind": "several_numbers"}, in_logs=True)],
    "constant lookup tables": [Tried(FEATURES, {"kind": kind}) for kind in ("vocabulary", "metric_in_a_layer")],
    "an optimizer that is applied several times": [Tried(FEATURES, {"kind": "critic"})],
    "an optimizer that holds another": [
        *(Tried(FEATURES, {"kind": f"holding_{delegates}"}) for delegates in HOLDING),
        *(Tried(REPORTED, {"kind": kind}) for kind in ("by_layer", "by_function")),
    ],
    "an optimizer whose `build` assigns": [Tried(REPORTED, {"kind": "schedule_free"})],
    "a variable that the step uses": [
        Tried(FEATURES, {"kind": f"kept_{where}"}, TABLE if where == "table" else UNKNOWN) for where in KEPT
    ],
    "ragged batches": [Tried(FEATURES, {"kind": "ragged"})],
    "a loss in `compile`": [Tried(FEATURES, {"kind": kind}, words) for kind, words in TARGETS.items()],
    "`run_eagerly=True`": [Tried(FEATURES, {"kind": "eager"})],
    "`run_eagerly=True` with a step": [Tried("failing.py:Failing", {"where": "eager"}, "run_eagerly=True")],
    "a collective": [Tried("failing.py:Collective", {}, "Pad it to a fixed shape", on_hosts=True)],
}
"""By the words that a row begins with."""
FAST = [
    ("`BatchNormalization`", "sync, several"),
    ("stateful RNNs", "sync, several"),
    ("an optimizer that holds another", "sync, several"),
    ("a variable that the step uses", "sync, several"),
    ("a loss in `compile`", "sync, several"),
]


def rows() -> list[tuple[str, dict[str, str]]]:
    """Each row's feature, and what it says by column."""
    found = [(head, row) for head, row in tables(ROOT / "docs" / "exactness.md") if head[0] == "feature"]
    return [(row[0], dict(zip(head[1:-1], row[1:-1], strict=True))) for head, row in found]


def cases_of(feature: str) -> list[Tried]:
    """The longest words that the row begins with decide."""
    found = [words for words in CASES if feature.startswith(words)]
    assert found, f"the row {feature!r} of docs/exactness.md is tried by no case"
    return CASES[max(found, key=len)]


def test_each_case_has_a_row_and_each_row_a_case() -> None:
    tried = [cases_of(feature) for feature, _ in rows()]
    assert len(tried) == len({id(cases) for cases in tried}) == len(CASES)
    assert all(tuple(cells) == tuple(COLUMNS) for _, cells in rows())


@cache
def answers(column: str, features: tuple[Row, ...], folder: Path) -> dict[Row, list[dict[str, Any]]]:
    """What happened in one column: all `features` are tried in one process."""
    cases = [(row, tried) for row in features for tried in cases_of(row[0])[: row[1]] if not tried.on_hosts]
    mode, workers = COLUMNS[column]
    asked = [(tried.job, tried.params) for _, tried in cases]
    found = side_by_side.compare_cases(mode, workers, asked, folder / f"{mode}-{workers}.json")
    by_row: dict[Row, list[dict[str, Any]]] = {}
    for (row, _), answer in zip(cases, found, strict=True):
        by_row.setdefault(row, []).append(answer)
    return by_row


def cells() -> list[Any]:
    """All cells with all their cases, which is slow; and a few of them with one case."""
    found = []
    for feature, row in rows():
        words = re.sub(r"[^a-z]+", "-", feature.lower()).strip("-")[:30]
        for column, says in row.items():
            name = "-".join(map(str, (words, *COLUMNS[column])))
            found.append(pytest.param((feature, None), column, says, id=name, marks=pytest.mark.slow))
            if any(feature.startswith(first) and column == tried for first, tried in FAST):
                found.append(pytest.param((feature, 1), column, says, id=f"{name}-first"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.mark.parametrize(("row", "column", "cell"), cells())
def test_what_the_table_says_happens(
    row: Row, column: str, cell: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    feature, limit = row
    cases = cases_of(feature)[:limit]
    word = re.match(r"[a-z]+|-", cell)
    assert word, cell
    if word[0] == "-":
        return
    if any(tried.on_hosts for tried in cases):
        happened: list[dict[str, Any]] = [on_hosts(column, tried) for tried in cases]
    else:
        happened = answers(column, wanted(request, column), folder)[row]
    for tried, answer in zip(cases, happened, strict=True):
        assert what_happened(tried, answer, column) == word[0], (tried, answer.get("error"))


def wanted(request: pytest.FixtureRequest, column: str) -> tuple[Row, ...]:
    """The rows that tests which are to run ask of a column."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return tuple(spec["row"] for spec in specs if spec.get("column") == column and spec["cell"] != "-")


def on_hosts(column: str, tried: Tried) -> dict[str, Any]:
    mode, workers = COLUMNS[column]
    batch = side_by_side.BATCH
    samples = side_by_side.STEPS * batch * workers
    try:
        train(
            tried.job, kind=ApartGroup, mode=mode, workers=workers, batch_size=batch, samples=samples, steps_per_call=5
        )
    except Broken as broken:
        return {"kind": broken.cause.kind, "error": broken.cause.summary, "hint": broken.cause.hint}
    return {}


def what_happened(tried: Tried, answer: dict[str, Any], column: str) -> str:
    """The word of the table for it. A refusal, or the hint of an error, has the words that it is to have."""
    if "error" in answer:
        assert tried.words, answer["error"]
        assert tried.words in answer["error"] + answer["hint"]
        return {FailureKind.SPEC: "refused", FailureKind.USER: "error"}.get(answer["kind"], answer["kind"])
    mine, theirs = answer["ours"], answer["plain"]
    assert len(mine["logs"]) == len(theirs["logs"]) == side_by_side.STEPS
    assert mine["iterations"] == theirs["iterations"]
    assert all(np.isfinite(weight).all() for weight in mine["weights"])
    weights = all(close(one, other) for one, other in zip(mine["weights"], theirs["weights"], strict=True))
    # `fit` logs a vector where ours are its mean and its elements.
    logs = [
        (one[name], np.mean(other[name]))
        for one, other in zip(mine["logs"], theirs["logs"], strict=True)
        for name in other
    ]
    same = all(close(*pair) for pair in logs)
    assert not tried.in_logs or weights or column == "async, several"
    return "exact" if weights and same else "different"


def close(mine: Any, theirs: Any) -> bool:
    return bool(np.allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE))
