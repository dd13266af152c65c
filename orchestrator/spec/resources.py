"""What tasks of each type ask of their hosts, beside what all of them ask for: fields of the spec, made demands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import SpecError

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
LabelSelector = Annotated[str, Field(pattern=r"^!?(in\([A-Za-z0-9._, -]+\)|[A-Za-z0-9._-]{1,63})$")]
TaskType = Literal["chief", "worker", "ps", "evaluator"]


class TypeResources(BaseModel):
    """For every task of one type; None for what all tasks ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    """For the evaluator; workers' GPUs are `gpus_per_worker`, and the others use none."""
    memory_gib: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Memory that Ray sets aside for it; not a limit."""


Resources = Mapping[TaskType, TypeResources]


def check(resources: Resources) -> None:
    """Refuse GPUs where they would lie idle.

    Raises:
        SpecError: names the field.
    """
    for name, asked in resources.items():
        if asked.gpu is None or name == "evaluator":
            continue
        why = "workers take gpus_per_worker" if name == "worker" else f"a {name} computes nothing that a GPU helps with"
        raise SpecError(f"resources.{name}.gpu", f"{asked.gpu} is not allowed: {why}")
