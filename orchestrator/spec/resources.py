"""Resources that tasks of one type reserve instead of the default of all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import SpecError

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
LabelSelector = Annotated[str, Field(pattern=r"^!?(in\([A-Za-z0-9._, -]+\)|[A-Za-z0-9._-]{1,63})$")]
TaskType = Literal["chief", "worker", "ps", "evaluator"]


class TypeResources(BaseModel):
    """Resources of every task of one type; None stands for the default of all tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    """Only for the evaluator: workers take `gpus_per_worker`, and other tasks use none."""
    memory_gib: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Memory that Ray reserves for the task; not a limit."""


Resources = Mapping[TaskType, TypeResources]


def check(resources: Resources) -> None:
    """Raises SpecError if GPUs are requested for tasks that would leave them idle."""
    for name, asked in resources.items():
        if asked.gpu is None or name == "evaluator":
            continue
        why = "set gpus_per_worker instead" if name == "worker" else f"a {name} computes nothing that a GPU speeds up"
        raise SpecError(f"resources.{name}.gpu", f"{asked.gpu} is not allowed: {why}")
