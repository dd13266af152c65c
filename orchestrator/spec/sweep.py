"""The spec of a sweep: a run's fields, what is searched, and by which metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.results.sweep import Direction
from orchestrator.spec.run import RunSpec
from orchestrator.spec.variants import merge

ARGUMENT = "args."
"""Begins the name of a parameter that stands in a script's arguments: `args.lr` for `-- --lr {lr}`."""


def filled(args: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """A script's arguments with `values` in place of their names in braces; other braces are kept."""
    return [re.sub(r"\{(\w+)\}", lambda name: str(values.get(name[1], name[0])), arg) for arg in args]


class SweepSpec(BaseModel):
    """Many runs of one job, each with other values of its parameters, and an equal sample budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: RunSpec
    """The fields that all trials share. Its target ends no trial."""
    params: Annotated[Mapping[str, str], Field(min_length=1, max_length=50)]
    """What is searched, by field, `params.x` or `args.x`, in the grammar of `--param`."""
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    metric: str
    direction: Direction
    prune: bool = True
    """Stop trials early that are worse than the others at the same evaluation."""

    def trial(self, values: Mapping[str, Any], variant: str) -> RunSpec:
        """The spec of a trial of `values`, in the worker group of `variant`."""
        own = {name: value for name, value in values.items() if not name.startswith(ARGUMENT)}
        if len(own) < len(values):
            named = {name.removeprefix(ARGUMENT): value for name, value in values.items() if name not in own}
            own["params.args"] = filled(self.run.params["args"], named)
        fields = merge(self.run.model_dump(), own) | {"files_apart": True, "variant": variant, "target": None}
        return type(self.run).make(fields | {"out": None, "run_id": None})
