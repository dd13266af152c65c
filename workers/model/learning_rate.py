"""An optimizer's learning rate, which is a variable or follows a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.errors import LearningRateError
from workers.model.optimizers import innermost
from workers.model.state import to_numpy

if TYPE_CHECKING:
    import keras


def scale_schedule(model: keras.Model, factor: float) -> bool:
    """Multiply the rates of the optimizer's learning-rate schedule, if it has one, by `factor`.

    Returns whether that changed the schedule: functions compiled with it must then be compiled again.
    """
    import keras

    optimizer = innermost(model.optimizer)
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
        LearningRateError: the optimizer follows a schedule.
    """
    if rate is None and scale == 1.0:
        return
    variable = learning_rate_variable(model)
    if variable is None:
        raise LearningRateError(
            "learning_rate: this job's optimizer follows a schedule, whose rates cannot be replaced from outside; "
            "make the schedule's rate one of the job's params and use --set."
        )
    variable.assign((float(variable.numpy()) if rate is None else rate) * scale)


def learning_rate(model: keras.Model) -> float:
    """The optimizer's learning rate now, to seven digits: of its variable, or of its schedule at its iterations."""
    rate = innermost(model.optimizer).learning_rate
    value = float(to_numpy(rate) if hasattr(rate, "value") else rate)  # mirrored, unless it is a schedule's
    return float(f"{value:.7g}")  # as it was typed, not as float32 has it


def learning_rate_variable(model: keras.Model) -> Any:
    """The variable that holds the optimizer's learning rate; None if it follows a schedule."""
    variable = getattr(innermost(model.optimizer), "_learning_rate", None)
    return variable if hasattr(variable, "assign") else None
