"""The state that a leg starts from, in the job's model built with the leg's seed outside any strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.data.file_caches import no_files
from workers.data.stream import first_batch, training_stream
from workers.messages import Start
from workers.model import state
from workers.model.learning_rate import scale_learning_rates, set_learning_rate
from workers.model.step import make_model
from workers.settings import ReplicaSettings
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import keras


def initial_model(job: Job, settings: ReplicaSettings) -> keras.Model:
    """Build the model with the leg's seed: it has the same weights in every mode and on every worker.

    It is a second model, on this process' CPU. The group's compiled model copies its values, so that another seed needs
    no compilation. On the leader it is also the model that callbacks see and that is exported.
    """
    import tensorflow as tf

    once = settings.model_copy(update={"cache": False})
    with no_files():
        batch = first_batch(training_stream(job, once, seed=settings.seed), "train_dataset")
    job.begin_run(settings.seed)
    with tf.device("CPU:0"):
        model = make_model(job, settings.seed, batch)
    set_learning_rate(model, settings.learning_rate, settings.learning_rate_scale)
    return model


def resume(model: keras.Model, start: Start, snapshot: Snapshot | None) -> Snapshot:
    """Put `model` into the state that a leg continues from, learning rate included, and return that state.

    Without a snapshot, its arrays are those of the seed: at step 0, and on tasks that copy the leader's.
    """
    if snapshot is not None:
        state.load(model, snapshot)
    scale_learning_rates(model, start.learning_rate_scale)
    here = state.read(model, step=start.step, samples=start.samples, clock=start.clock)
    if snapshot is None:
        return replace(here, position=start.position)
    return replace(here, position=start.position, outer=snapshot.outer, gathered=snapshot.gathered)
