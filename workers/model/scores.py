"""Scores of a model on evaluation data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workers.model.logs import numbers

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def scores(
    model: keras.Model,
    dataset: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.CallbackList,
) -> Mapping[str, float]:
    """The values of `evaluate` by the metrics' names.

    Keras says of every dataset whose size it does not know that it "ran out of data" where it ends as it should.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        return numbers(model.evaluate(dataset, callbacks=callbacks, return_dict=True, verbose=0))
