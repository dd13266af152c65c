"""An optimizer's learning rate: the variable that holds it, or the schedule that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.errors import LearningRateError

if TYPE_CHECKING:
    import keras


def scale_schedule(model: keras.Model, factor: float) -> bool:
    """Have the optimizer's learning-rate schedule give `factor` times its own rates, if it follows one.

    Whether it was anything else before; what was compiled with it has to be compiled anew then.
    """
    import keras

    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return False
    known, own = getattr(schedule, "regatta_scaled", (1.0, schedule))
    if known == factor:
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
    """Give the optimizer `rate`, or its own, times `scale`.

    Raises:
        LearningRateError: it follows a schedule, which holds its rates itself.
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


def learning_rate_variable(model: keras.Model) -> Any:
    """The optimizer's learning rate, under any wrapping optimizer; None where it follows a schedule."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    variable = getattr(optimizer, "_learning_rate", None)
    return variable if hasattr(variable, "assign") else None
