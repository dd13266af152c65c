"""`MetricTarget`: the bound on a metric that ends a run early."""

from __future__ import annotations

import math
import re
import struct
from typing import Literal

from pydantic import BaseModel, ConfigDict

_TARGET = re.compile(r"\s*([A-Za-z_][\w/.-]*)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


def _single(value: float) -> float:
    """`value` in single precision; unchanged if it is too large for that."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return value


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
        """Whether `value` meets the target, both in single precision, in which Keras computes metrics.

        342 of 360 right answers are an accuracy of 0.949999988 there, and meet `>=0.95`.
        """
        found, bound = _single(value), _single(self.value)
        return {">=": found >= bound, "<=": found <= bound, ">": found > bound, "<": found < bound}[self.op]

    def __str__(self) -> str:
        """Text from which `parse` returns the same target."""
        return f"{self.metric}{self.op}{str(self.value).removesuffix('.0')}"
