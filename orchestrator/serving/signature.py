"""What a model takes and gives: its signatures, as the process that has loaded it describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[np.generic]
Arrays = dict[str, AnyArray]
"""Tensors by name; strings are object arrays of bytes."""

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@dataclass(frozen=True)
class TensorType:
    """The type of one named tensor."""

    dtype: str
    """TensorFlow's name, such as `float32` or `string`."""
    shape: tuple[int | None, ...] | None
    """None for an unknown rank; in it, None for an unknown size."""
    tensor: str = ""
    """Name of the tensor in the graph."""

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        if self.shape is None:
            return True
        sizes = zip(shape, self.shape, strict=False)
        return len(shape) == len(self.shape) and all(wanted in (None, size) for size, wanted in sizes)

    @property
    def printed(self) -> str:
        """The shape as TensorFlow Serving prints it."""
        return "[?]" if self.shape is None else printed_shape(-1 if n is None else n for n in self.shape)


@dataclass(frozen=True)
class Signature:
    """A function of the model."""

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    method: str = PREDICT
    rows: bool = False
    """Whether each row of the outputs depends on the same row of the inputs only, so that requests can be joined."""


@dataclass(frozen=True)
class Description:
    """A loaded model."""

    signatures: Mapping[str, Signature]
    note: str | None = None
    """What its owner should know, such as why requests are not joined."""


def printed_shape(sizes: object) -> str:
    """`[1,3]`."""
    return f"[{','.join(str(size) for size in sizes)}]"  # type: ignore[attr-defined]
