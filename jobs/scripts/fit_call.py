"""One call of `fit`: what it was given, checked and completed as Keras would."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.scripts.data import Data, data_of
from jobs.scripts.errors import ScriptError
from jobs.scripts.shared_rows import split_at

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FitCall:
    """A model and the arguments of its `fit`."""

    model: keras.Model
    data: Data
    validation: Data | None
    epochs: int
    initial_epoch: int
    validation_steps: int | None
    validation_freq: Any
    callbacks: tuple[Any, ...]

    @staticmethod
    def bind(
        fit: Callable[..., Any],
        model: keras.Model,
        arguments: tuple[Any, ...],
        options: Mapping[str, Any],
        *,
        seeded: bool,
        shift: int,
    ) -> FitCall:
        """Read the arguments of a call of `fit`. `seeded`: the script has set the global seed; `shift` is added to it.

        Raises:
            ScriptError: names the argument that cannot be carried.
            TypeError: as `fit` itself.
        """
        given = FitCall.arguments(fit, model, arguments, options)
        model._assert_compile_called("fit")
        training, validation = _split(given)
        size = given["batch_size"]
        initial = getattr(model, "_initial_epoch", 0) or given["initial_epoch"]
        if given["epochs"] <= initial:
            raise ScriptError(
                f"fit(epochs={given['epochs']}, initial_epoch={initial}) trains on nothing: raise epochs."
            )
        order = _global_seed() - shift if seeded else None
        return FitCall(
            model=model,
            data=data_of(
                "x",
                training,
                batch_size=size,
                steps=given["steps_per_epoch"],
                shuffle=given["shuffle"],
                class_weight=given["class_weight"],
                seed=order,
            ),
            validation=None
            if validation is None
            else data_of(
                "validation_data",
                validation,
                batch_size=given["validation_batch_size"] or size,
                steps=given["validation_steps"],
            ),
            epochs=given["epochs"],
            initial_epoch=initial,
            validation_steps=given["validation_steps"],
            validation_freq=given["validation_freq"],
            callbacks=_callbacks(given["callbacks"]),
        )

    @staticmethod
    def arguments(
        fit: Callable[..., Any], model: keras.Model, arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """All arguments of a call of `fit` by name, the model as `self`; raises TypeError as `fit` itself."""
        bound = inspect.signature(fit).bind(model, *arguments, **options)
        bound.apply_defaults()
        return dict(bound.arguments)

    def budget(self) -> dict[str, Any]:
        """The fields of a spec that the arguments say."""
        fields: dict[str, Any] = {
            "global_batch_size": self.data.batch_size,
            "epochs": self.epochs - self.initial_epoch,
        }
        if self.validation is not None and self.validation_steps:
            fields["eval_steps"] = self.validation_steps
        return fields

    def validates(self, epoch: int) -> bool:
        """Whether `fit` evaluates after `epoch`, counted from 0."""
        freq = self.validation_freq
        if self.validation is None:
            return False
        return (epoch + 1) % freq == 0 if isinstance(freq, int) else (epoch + 1) in freq


def _split(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The training and the validation data, each (x, y, sample_weight)."""
    from keras.src.trainers.data_adapters import data_adapter_utils

    training = given["x"], given["y"], given["sample_weight"]
    validation = given["validation_data"]
    if validation is not None:
        return training, data_adapter_utils.unpack_x_y_sample_weight(validation)
    if given["validation_split"]:
        return split_at(training, given["validation_split"])
    return training, None


def _callbacks(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _global_seed() -> int:
    from tensorflow.python.eager import context

    return int(context.global_seed() or 0)
