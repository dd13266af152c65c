"""The calls of `fit` that a script makes before the judged one: each is trained as a run of its own."""

from __future__ import annotations

from typing import Annotated

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
