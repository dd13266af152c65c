"""Refuses what no mode can train as one process would, before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import OwnLoopError, StatefulLayerError, UnsupportedOptimizerError
from workers.model.optimizers import innermost, optimizers

if TYPE_CHECKING:
    import keras


def refuse_unsupported(model: keras.Model, mode: str, *, workers: int, merges: bool) -> None:
    """Refuse settings of `model` that do not work in `mode` with this number of workers.

    `merges`: the replicas' updates meet in a `merge_call`, which TensorFlow does not permit within a conditional.

    Raises:
        UnsupportedOptimizerError: an optimizer has a setting that puts its update into a conditional.
        StatefulLayerError: a layer keeps a state for every row of its batches.
        OwnLoopError: the model's class overrides `fit` or what `fit` compiles.
    """
    import keras

    for name in ("fit", "make_train_function"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise OwnLoopError(
                f"{type(model).__name__} has a `{name}` of its own, which is not called here, so that training would "
                "differ from it without a word. Put what a step does into `train_step`, and the rest into callbacks."
            )
    for optimizer in optimizers(model) if merges else ():
        for setting in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            value = getattr(innermost(optimizer), setting, None)
            if value:
                raise UnsupportedOptimizerError(
                    f"the optimizer's {setting}={value} does not work with several replicas in mode {mode}: Keras "
                    "cannot do it under tf.distribute. Leave it out (more workers accumulate as well), or train in "
                    "mode single."
                )
    stateful = [layer.name for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    if stateful and workers > 1:
        raise StatefulLayerError(
            f"the layer {stateful[0]!r} is stateful: it keeps a state for every row of its batches, and with "
            f"{workers} workers each would continue from rows of another's batch. Leave stateful=True out, or train "
            "in mode single."
        )
