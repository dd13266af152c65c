"""What a spec may ask for in which mode, as docs/modes.md says."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.run import RunSpec
from tests.features_by_mode import cells, refused
from workers.modes.registry import traits

pytestmark = pytest.mark.unit

FIELDS: dict[str, dict[str, Any]] = {
    "`--balance`": {"balance": True},
    "`--gpus-per-worker 2`": {"gpus_per_worker": 2},
    "`--min-workers 1`": {"min_workers": 1},
    "`--ps 0`": {"ps": 0},
}


@pytest.mark.parametrize(("feature", "mode", "cell"), cells(FIELDS))
def test_what_is_refused_names_its_field(feature: str, mode: str, cell: str) -> None:
    fields = FIELDS[feature]
    with refused(cell, SpecError) as error:
        RunSpec.make({"job": "digits", "mode": mode, "workers": 3, **fields})
    if error is not None:
        assert str(error.value).startswith(next(iter(fields)))


@pytest.mark.parametrize(("feature", "mode", "cell"), cells(["staleness"]))
def test_staleness_is_of_modes_whose_workers_do_not_step_together(feature: str, mode: str, cell: str) -> None:
    assert (cell == "yes") is not traits(mode).lockstep
