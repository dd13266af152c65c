"""The UCI optical digits, shipped with Regatta: see PROVENANCE.md beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("digits.csv.gz")
"""1,797 rows of 64 pixels (8x8, row by row, 0 to 16) and the label (0 to 9)."""

EVERY = 5
"""Every fifth image, sorted by label, is held out: 1,437 images for training and 360 for evaluation."""


class Digits(NamedTuple):
    """Pixels scaled to 0..1, shape (n, 64), float32; labels 0..9, shape (n,), int32."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int32]
    x_eval: NDArray[np.float32]
    y_eval: NDArray[np.int32]


def load() -> Digits:
    """Load the digits in a fixed split with the same class proportions in both parts (to within one image).

    Sorting needs no random generator, whose stream a new NumPy version may change. Within a class the file is ordered
    by writer, so that every writer is in both parts, as in scikit-learn's usual shuffled split.
    """
    import numpy as np

    table = np.loadtxt(FILE, delimiter=",", dtype=np.float32)
    table = table[np.argsort(table[:, 64], kind="stable")]
    held_out = np.arange(len(table)) % EVERY == 0
    x, y = table[:, :64] / np.float32(16), table[:, 64].astype(np.int32)
    return Digits(x[~held_out], y[~held_out], x[held_out], y[held_out])
