"""An optimizer's learning rate, which is a variable or follows a schedule; a MultiOptimizer has several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.errors import LearningRateError
from workers.model.optimizers import innermost
from workers.model.state import to_numpy

if TYPE_CHECKING:
    import keras


def scale_schedule(model: keras.Model, factor: float) -> bool:
    """Multiply the rates of the optimizer's learning-rate schedules, if it has any, by `factor`.

    Returns whether that changed a schedule: functions compiled with it must then be compiled again.
    """
    changed = [_scale_schedule(optimizer, factor) for optimizer in _rated(model)]
    return any(changed)


def _scale_schedule(optimizer: keras.Optimizer, factor: float) -> bool:
    import keras

    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return False
    current, own = getattr(schedule, "regatta_scaled", (1.0, schedule))
    if current == factor:
        return False

    class Scaled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        regatta_scaled = (factor, own)

        def __call__(self, step: Any) -> Any:
            return own(step) * factor

        def get_config(self) -> dict[str, Any]:
            config: dict[str, Any] = own.get_config()
            return config

    optimizer.learning_rate = own if factor == 1.0 else Scaled()
    return True


def set_learning_rate(model: keras.Model, rate: float | None, scale: float) -> None:
    """Set the optimizer's learning rate to `rate`, or its own, times `scale`.

    Raises:
        LearningRateError: the optimizer follows a schedule, or has several rates and `rate` is one.
    """
    if rate is None and scale == 1.0:
        return
    rated = _rated(model)
    if rate is not None and len(rated) > 1:
        raise LearningRateError(
            f"learning_rate: this job's {type(innermost(model.optimizer)).__name__} has {len(rated)} optimizers with "
            "rates of their own, which one number cannot replace; make them params of the job and use --set."
        )
    for optimizer in rated:
        variable = _variable(optimizer)
        if variable is None:
            raise LearningRateError(
                "learning_rate: this job's optimizer follows a schedule, whose rates cannot be replaced from outside; "
                "make the schedule's rate one of the job's params and use --set."
            )
        variable.assign((float(variable.numpy()) if rate is None else rate) * scale)


def scale_learning_rates(model: keras.Model, factor: float) -> None:
    """Multiply the rates that are variables by `factor`; those of schedules are left to `scale_schedule`."""
    for optimizer in _rated(model):
        if (variable := _variable(optimizer)) is not None:
            variable.assign(float(variable.numpy()) * factor)


def learning_rate(model: keras.Model) -> float | None:
    """The optimizer's learning rate now, to seven digits: of its variable, or of its schedule at its iterations.

    None if a MultiOptimizer has several that differ.
    """
    rates = {_rate(optimizer) for optimizer in _rated(model)}
    return rates.pop() if len(rates) == 1 else None


def _rate(optimizer: keras.Optimizer) -> float:
    rate = optimizer.learning_rate
    value = float(to_numpy(rate) if hasattr(rate, "value") else rate)  # mirrored, unless it is a schedule's
    return float(f"{value:.7g}")  # as it was typed, not as float32 has it


def learning_rate_variable(model: keras.Model) -> Any:
    """The variable that holds the optimizer's learning rate; None if it follows a schedule, or has several rates."""
    rated = _rated(model)
    return _variable(rated[0]) if len(rated) == 1 else None


def _variable(optimizer: keras.Optimizer) -> Any:
    variable = getattr(optimizer, "_learning_rate", None)
    return variable if hasattr(variable, "assign") else None


def _rated(model: keras.Model) -> list[keras.Optimizer]:
    """The optimizers whose rates the compiled one applies: itself, or those that a MultiOptimizer distributes to."""
    import keras

    optimizer = innermost(model.optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return list(optimizer.optimizers)
    return [optimizer]
