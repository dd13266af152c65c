"""Refuses a compiled loss and a dataset that do not go together: targets that are missing, too many or too few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from workers.errors import DataError, NoLossError, TargetsError

if TYPE_CHECKING:
    import keras


@contextmanager
def matching_targets(model: keras.Model, batch: Any, described: str) -> Iterator[None]:
    """Check `batch` before the model is built from it in this context, and explain what Keras says of targets then.

    A model with a `train_step` or `compute_loss` of its own may do without targets, and is left to Keras.

    Raises:
        TargetsError: the batches have no targets, or others than the loss needs.
        NoLossError: the model is compiled without a loss, and nothing adds one.
        DataError: the model cannot be built, and the batches are ragged.
    """
    import keras

    kind, own = type(model), keras.Model
    plain = kind.train_step is own.train_step and kind.compute_loss is own.compute_loss
    _, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    if plain and model._compile_loss is not None and y is None:
        raise TargetsError(
            f"build_model compiles a loss, but the dataset has no targets for it: its batches are {described}. Give "
            "pairs (x, y); a model that computes its loss from x alone needs add_loss or a train_step of its own, and "
            "no loss in compile()."
        )
    try:
        yield
    except RuntimeError:
        _refuse_ragged(batch, described)
        raise
    except (ValueError, KeyError, TypeError) as error:
        if not plain:
            raise
        words = str(error).strip().strip("\"'").splitlines()
        if "No loss to compute" in str(error):
            raise no_loss(model) from error
        if _is_of_targets(error):
            raise TargetsError(
                f"the targets of the dataset do not go with the model's outputs and the loss in compile(): {words[0]} "
                f"The batches are {described}, the model's outputs are {_outputs(model)}. There has to be one target "
                "for each output that has a loss, in the same order or under the same names."
            ) from error
        raise


def _refuse_ragged(batch: Any, described: str) -> None:
    """Refuse ragged batches, from whose shapes a model cannot be built before the first step.

    Raises:
        DataError: a part of `batch` is ragged.
    """
    import tensorflow as tf

    if any(isinstance(part, tf.RaggedTensor) for part in tf.nest.flatten(batch)):
        raise DataError(
            f"the dataset has ragged batches, {described}, from which Keras cannot build this model before the first "
            "step. Pad them: end the dataset with padded_batch, or map them with RaggedTensor.to_tensor(shape=...)."
        )


def no_loss(model: keras.Model) -> NoLossError:
    """The refusal of a model that has nothing to minimise."""
    return NoLossError(
        f"build_model compiles {type(model).__name__} without a loss, and no layer adds one: name it in "
        "compile(loss=...), or call add_loss in a layer."
    )


def _is_of_targets(error: Exception) -> bool:
    """Whether `error` was raised while Keras matched targets with outputs and losses."""
    from keras.src.trainers.compile_utils import CompileLoss

    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    matching = [n for n, frame in enumerate(frames) if isinstance(frame.f_locals.get("self"), CompileLoss)]
    inside = frames[matching[-1] :] if matching else []
    # A loss function of the user's that raises is another matter.
    return bool(inside) and all("keras/src" in frame.f_code.co_filename for frame in inside)


def _outputs(model: keras.Model) -> str:
    names = getattr(model, "output_names", None)
    return ", ".join(map(repr, names)) if names else "those of its call()"
