"""`MetricTarget`: the bound on a metric that ends a run early."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

_TARGET = re.compile(r"\s*([A-Za-z_][\w/.-]*)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


class MetricTarget(BaseModel):
    """A bound on a metric, such as `val_accuracy>=0.95`; an evaluation that meets it ends the run."""

    model_config = ConfigDict(frozen=True)
    metric: str
    op: Literal[">=", "<=", ">", "<"]
    value: float

    @classmethod
    def parse(cls, text: str) -> MetricTarget:
        """The target that `text` describes. Raises ValueError if it is not one."""
        match = _TARGET.fullmatch(text)
        if match is None:
            raise ValueError("write it as METRIC>=NUMBER, for example val_accuracy>=0.95 (or <=, >, <)")
        metric, op, value = match.groups()
        if not math.isfinite(float(value)):
            raise ValueError("the number is too large")
        return cls(metric=metric, op=op, value=float(value))  # type: ignore[arg-type]  # the pattern's choice

    def met_by(self, value: float) -> bool:
        return {
            ">=": value >= self.value,
            "<=": value <= self.value,
            ">": value > self.value,
            "<": value < self.value,
        }[self.op]

    def __str__(self) -> str:
        """Text from which `parse` returns the same target."""
        return f"{self.metric}{self.op}{str(self.value).removesuffix('.0')}"
