"""Where a leg starts: the model as the job builds it, with the leg's seed, outside of any strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.api import Job
from workers import snapshot as state
from workers.data.stream import first_batch, training_stream
from workers.messages import Leg, Start
from workers.model.step import make_model

if TYPE_CHECKING:
    import keras


class LearningRateError(ValueError):
    """The spec sets a learning rate that this job's optimizer cannot be given."""


def initial_model(job: Job, leg: Leg, batch_size: int) -> keras.Model:
    """The model every mode starts from for the leg's seed: the same weights in every mode and on every worker.

    Built once more, on this process' CPU. The compiled model of the group takes its values over, so a further seed
    costs no further compilation. On the leader it goes on as the model that callbacks see, and that is exported.
    """
    import tensorflow as tf

    batch = first_batch(training_stream(job, batch_size=batch_size, seed=leg.seed), "train_dataset")
    with tf.device("CPU:0"):
        model = make_model(job, leg.seed, batch)
    set_learning_rate(model, leg.learning_rate, leg.learning_rate_scale)
    return model


def resume(model: keras.Model, start: Start, snapshot: state.Snapshot | None) -> state.Snapshot:
    """Put `model` where a leg goes on from, at the learning rate it goes on with, and return that state.

    Without a snapshot the arrays are the seed's own: at step 0, and on tasks that take theirs from the leader.
    """
    if snapshot is not None:
        state.load(model, snapshot)
    rate = learning_rate_variable(model)
    if rate is not None:
        rate.assign(float(rate.numpy()) * start.learning_rate_scale)
    here = state.read(model, step=start.step, samples=start.samples, clock=start.clock)
    return replace(here, position=start.position)


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
