"""What Keras' `fit` does to a model's weights when training ends: weights that are averaged get their average."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def is_finalized(model: keras.Model) -> bool:
    """Whether the compiled optimizer sets the weights once more when training ends, as with `use_ema`."""
    import keras

    from workers.model.optimizers import innermost

    if not isinstance(model.optimizer, keras.optimizers.Optimizer):
        return False
    optimizer = innermost(model.optimizer)
    own = type(optimizer).finalize_variable_values is not keras.optimizers.Optimizer.finalize_variable_values
    return own or bool(optimizer.use_ema)


def finalize(model: keras.Model) -> None:
    """Set the final weights, as `fit` does after its last epoch and before `on_train_end`."""
    if is_finalized(model):
        model.optimizer.finalize_variable_values(model.trainable_weights)
