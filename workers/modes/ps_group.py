"""An asynchronous group whose weights are on parameter servers: TensorFlow's ParameterServerStrategy.

The chief sends calls of k fused steps to free workers (`workers.modes.ps_workers`). Workers and parameter servers only
run a TensorFlow server; what a call computes there is defined in `workers.modes.async_steps`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.api import Job
from workers.data.stream import first_batch, training_stream
from workers.messages import Assignment, Position
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import iterations, optimizers
from workers.model.step import TrainStep, make_model
from workers.modes.async_group import Outcome, endless, rows
from workers.modes.async_steps import AsyncSteps
from workers.modes.gathering import Gathering
from workers.modes.ps_workers import PsWorkers, current_worker
from workers.modes.step_timer import StepTimer, measured
from workers.modes.unsupported import refuse_unsupported
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

_T = TypeVar("_T")


class PsGroup:
    """Workers that lend their devices to this process, the chief."""

    def __init__(
        self,
        assignment: Assignment,
        job: Job,
        *,
        weigh: Callable[[tf.Tensor], tf.Tensor] | None,
        make_gathering: Callable[[PsGroup], Gathering | None],
        updates: Callable[[int], int],
    ) -> None:
        """`weigh` returns the factor on a gradient of a given staleness; None for 1. `updates` returns the updates of
        the weights that so many counted steps have made."""
        import tensorflow as tf

        self._settings = assignment.settings
        self._job = job
        self._on_cpu = assignment.gpus == 0
        self._weigh = weigh
        self._updates = updates
        self._iterator = threading.local()
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        self._strategy = tf.distribute.ParameterServerStrategy(resolver)
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._cluster = PsWorkers(self._strategy, self._workers)
        seed = self._settings.seed
        stream = self._stream(seed, 0)
        batch = first_batch(stream, "train_dataset")
        with self._strategy.scope():
            self.model = make_model(self._job, seed, batch)
            self.counter = tf.Variable(0, dtype=tf.int64, trainable=False, name="regatta_updates")
        refuse_unsupported(self.model, self._settings.mode, workers=self._workers, merges=True)
        self.gathering = make_gathering(self)
        self._offsets = self._offsets_at(0)
        self._train_step = TrainStep(self.model)
        self._element_spec = stream.element_spec
        with self._train_step.traced():
            self._steps = self._make_steps()
        # All in one call: one by one, reading 20 variables takes 100 ms.
        self._read_weights = tf.function(lambda: state.tensors(state.state_variables(self.model)))
        self._read_optimizer = tf.function(lambda: state.tensors(state.optimizer_variables(self.model)))
        self._open_data(seed)
        self._warm_up()
        self.read()  # traces both functions, which would stop the workers for 0.4 s in the first seconds of a run

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._train_step.names

    @property
    def count(self) -> int:
        return int(self.counter.numpy())

    def scale_schedule(self, factor: float) -> None:
        if scale_schedule(self.model, factor):
            self._steps = self._make_steps()

    def begin(self, start: Snapshot, seed: int) -> None:
        self.write(start)
        self.counter.assign(start.step)
        if (offsets := self._offsets_at(start.step)) != self._offsets:
            self._offsets = offsets
            self._steps = self._make_steps()
        self._open_data(seed, start.position)
        self._warm_up()

    def write(self, start: Snapshot) -> None:
        state.load(self.model, start)

    def set_learning_rate(self, rate: float) -> None:
        self.model.optimizer.learning_rate.assign(rate)

    def read(self) -> tuple[int, tuple[npt.NDArray[Any], ...], tuple[npt.NDArray[Any], ...]]:
        """Read while workers continue: variables may be a few updates apart, but each is consistent."""
        step = self.count
        for optimizer, times, offset in zip(optimizers(self.model), self._steps.per_step, self._offsets, strict=True):
            if times:
                iterations(optimizer).assign(self._updates(step) * times + offset)
        weights = tuple(v.numpy() for v in self._read_weights())
        return step, weights, tuple(v.numpy() for v in self._read_optimizer())

    def schedule(self, function: Callable[[int], None]) -> None:
        def run(iterator: Any) -> None:
            self._iterator.value = iterator
            function(current_worker())

        self._cluster.schedule(run, self._iterators)

    def run(self, worker: int, steps: int) -> Outcome:
        logs, numbers, reads = endless(worker, self._steps, self._iterator.value, steps)
        return Outcome(rows(logs[2:], steps), numbers, reads, measured(logs[0]), measured(logs[1]))

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        return self._cluster.get(source)

    def _stream(self, seed: int, worker: int, position: Position = ()) -> tf.data.Dataset:
        return training_stream(
            self._job,
            self._settings,
            seed=seed,
            num_shards=self._workers,
            shard_index=worker,
            position=position,
        )

    def _make_steps(self) -> AsyncSteps:
        timer = StepTimer(self._settings.monitor and self._on_cpu)
        step = self._strategy, self.model, self._train_step, self.counter, self._element_spec
        return AsyncSteps(*step, timer, self._offsets, self._weigh, self.gathering)

    def _offsets_at(self, step: int) -> list[int]:
        """What each optimizer's `iterations` are ahead of the run's `step`: they start at those of a loaded model."""
        per_step = self._steps.per_step if step else [1] * len(optimizers(self.model))
        now = [int(state.to_numpy(iterations(optimizer))) for optimizer in optimizers(self.model)]
        return [count - self._updates(step) * times for count, times in zip(now, per_step, strict=True)]

    def _open_data(self, seed: int, position: Position = ()) -> None:
        """Create an iterator on each worker, over the batches of its shard after `position`."""
        import tensorflow as tf

        functions = [
            tf.function(lambda worker=worker: self._stream(seed, worker, position)).get_concrete_function()
            for worker in range(self._workers)
        ]

        self._iterators = self._cluster.create_on_each(lambda: iter(functions[current_worker()]()))

    def _warm_up(self) -> None:
        """Run zero steps on every worker, which instantiates the functions there and trains nothing."""
        self._cluster.run_on_each(lambda iterator: self._steps(iterator, 0), self._iterators)
