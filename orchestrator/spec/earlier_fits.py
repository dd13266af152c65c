"""The calls of `fit` that a script makes before the judged one: each is trained as a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from workers.settings import Count


class EarlierFit(BaseModel):
    """What a script gives to a `fit` before the judged one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    line: Annotated[str, Field(max_length=4096)]
    """Where it is, as `train.py:30`."""
    global_batch_size: Count
    epochs: Annotated[float, Field(gt=0, le=1e9)]
    eval_steps: Count | None = None


_REPLACED = {"samples": "epochs", "batch_size": "global_batch_size"}


def as_given(params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a script, whose judged fit may be called with anything where fields that are `given` replace it."""
    found = dict(params)
    if found.get("as_tried"):
        replaced = {_REPLACED.get(field, field) for field, value in given.items() if value is not None}
        *earlier, judged = found["as_tried"]
        found["as_tried"] = [*earlier, {name: value for name, value in judged.items() if name not in replaced}]
    return found
