"""The spec in a report repeats the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.report.repeating import spec_text
from orchestrator.report.study import load_study
from orchestrator.spec import yaml
from orchestrator.spec.comparison import CompareSpec
from tests.unit.stored_runs import store_run

# Not marked `unit`: it takes seconds, and the whole marked set is to run in 30 s.


def test_the_spec_in_a_report_is_the_spec_that_was_run(tmp_path: Path) -> None:
    """As far as `regatta compare spec.yaml` would make the same runs of it."""

    def stored(folder: Path, values: dict[str, Any]) -> CompareSpec:
        spec = CompareSpec.make(values)
        for seed in spec.seeds:
            for name in spec.variants:
                run = spec.variant(name, seed).resolved()
                store_run(tmp_path / folder, name, seed, 4.0, spec=run, job=run["job"])
        return spec

    def told(folder: Path) -> CompareSpec:
        text = spec_text(load_study(tmp_path / folder)) or ""
        return CompareSpec.make(yaml.load(text) | {"directory": "."})

    base = {"job": "digits", "samples": 6400, "target": "val_accuracy>=0.95", "params": {"hidden": 8}, "seeds": 2}
    for number, more in enumerate(
        (
            {},
            {"modes": {"sync": {}, "async": {"learning_rate": 0.001}}},
            {"vary": {"workers": [1, 2], "params.hidden": [8, 16]}},
            {
                "variants": {"a": {"batch_size": 16}, "b": {"mode": "async", "epochs": 2}},
                "straggler": "transient:p=0.05,factor=10",
            },
        )
    ):
        folder = Path(f"c{number}")
        spec, again = stored(folder, {**base, **more}), told(folder)
        assert again.seeds == spec.seeds
        assert list(again.variants) == list(spec.variants)
        for name in spec.variants:
            ours, theirs = (s.variant(name, 0).model_dump() for s in (again, spec))
            assert ours | {"out": None} == theirs | {"out": None}
