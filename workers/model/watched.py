"""Trainable variables that gradient tapes watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def have_watched(variable: keras.Variable) -> None:
    """Have gradient tapes watch a trainable variable.

    They do not, if its layer was frozen when Keras built it symbolically and is trained since: Keras does not hand its
    own `trainable` on to TensorFlow's variable, which then silently gets no gradient.
    """
    value = variable.value
    for part in getattr(value, "values", (value,)):
        inner = part
        while hasattr(inner, "_v"):  # of a parameter server
            inner = inner._v
        inner._trainable = True
