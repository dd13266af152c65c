"""Where a leg starts: the model as the job builds it, with the leg's seed, outside of any strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.data.stream import first_batch, training_stream
from workers.messages import Start
from workers.model import state
from workers.model.learning_rate import learning_rate_variable, set_learning_rate
from workers.model.step import make_model
from workers.settings import ReplicaSettings
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras


def initial_model(job: Job, settings: ReplicaSettings) -> keras.Model:
    """The model every mode starts from for the leg's seed: the same weights in every mode and on every worker.

    Built once more, on this process' CPU. The compiled model of the group takes its values over, so a further seed
    costs no further compilation. On the leader it goes on as the model that callbacks see, and that is exported.
    """
    import tensorflow as tf

    once = settings.model_copy(update={"cache": False})
    batch = first_batch(training_stream(job, once, seed=settings.seed), "train_dataset")
    with tf.device("CPU:0"):
        model = make_model(job, settings.seed, batch)
    set_learning_rate(model, settings.learning_rate, settings.learning_rate_scale)
    return model


def resume(model: keras.Model, start: Start, snapshot: Snapshot | None) -> Snapshot:
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
