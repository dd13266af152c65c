"""Counts the samples of a dataset that does not know their number, and may have no end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workers.errors import DataError
from workers.session import say

if TYPE_CHECKING:
    import tensorflow as tf

COUNTING_SECONDS = 300.0
"""How long counting may take."""


def counted(dataset: tf.data.Dataset) -> int:
    """Samples of a dataset that does not know their number.

    Raises:
        DataError: it did not end within `COUNTING_SECONDS`.
    """
    import tensorflow as tf

    started, count, said = time.monotonic(), 0, False
    for batch in dataset:
        count += int(tf.shape(tf.nest.flatten(batch)[0])[0])
        seconds = time.monotonic() - started
        if seconds > COUNTING_SECONDS:
            raise DataError(
                f"train_dataset has not ended after {count} samples in {seconds:.0f} s, so its epochs cannot be "
                "counted: set samples_per_epoch = ... in the job."
            )
        if seconds > COUNTING_SECONDS / 10 and not said:
            said = True
            say("counting the samples of train_dataset; samples_per_epoch = ... in the job would spare that")
    return count
