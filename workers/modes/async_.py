"""Asynchronous mode: each worker reads the weights from the parameter servers and applies its gradients when ready.

The chief sends calls of k fused steps to free workers (`workers.modes.ps_workers`). Workers and parameter servers only
run a TensorFlow server; what a call computes there is defined in `workers.modes.async_steps`.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.api import Job
from workers.data.stream import first_batch, training_stream
from workers.messages import Assignment, Counts, Position
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import iterations, optimizers
from workers.model.step import TrainStep, make_model
from workers.modes.async_steps import AsyncSteps
from workers.modes.gathering import Gathering
from workers.modes.mode import Call, Consult, Decision
from workers.modes.ps_workers import PsWorkers, current_worker, endless
from workers.modes.registry import traits
from workers.modes.step_timer import StepTimer, measured
from workers.modes.unsupported import refuse_unsupported
from workers.snapshot import Snapshot
from workers.stragglers import Pace, pace_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from workers.news import FloatArray, IntArray


class AsyncMode:
    """The chief of an asynchronous worker group."""

    leads = True
    batches_per_step = 1
    round_steps = 1
    weigh: Callable[[tf.Tensor], tf.Tensor] | None = None
    """The factor on a gradient of a given staleness; None for 1."""
    gathering: Gathering | None = None
    """Where gradients are gathered; None if each is an update."""
    shares = ()

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self.step = 0
        self._settings = assignment.settings
        self._on_cpu = assignment.gpus == 0
        self._job = job
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._most_in_flight = traits(self._settings.mode).calls_in_flight * self._workers
        self._completed: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._in_flight = 0
        self._scheduled = 0
        self._paces: list[Pace | None] = []

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._train_step.names

    @property
    def doubled_updates(self) -> int:
        """Updates applied but not reported: a worker died after applying one, and its call ran again."""
        return int(self._counter.numpy()) - self.step

    @property
    def counts(self) -> Counts:
        return Counts(updates=int(self._counter.numpy()))

    def build(self) -> None:
        import tensorflow as tf

        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        self._strategy = tf.distribute.ParameterServerStrategy(resolver)
        self._cluster = PsWorkers(self._strategy, self._workers)
        seed = self._settings.seed
        stream = self._stream(seed, 0)
        batch = first_batch(stream, "train_dataset")
        with self._strategy.scope():
            self.model: keras.Model = make_model(self._job, seed, batch)
            self._counter = tf.Variable(0, dtype=tf.int64, trainable=False, name="regatta_updates")
        refuse_unsupported(self.model, self._settings.mode, workers=self._workers, merges=True)
        self.gathering = self._make_gathering()
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

    def scale_schedule(self, factor: float) -> None:
        if scale_schedule(self.model, factor):
            self._steps = self._make_steps()

    def begin(self, start: Snapshot, seed: int) -> None:
        self.adopt(start)
        self._counter.assign(start.step)
        if (offsets := self._offsets_at(start.step)) != self._offsets:
            self._offsets = offsets
            self._steps = self._make_steps()
        self._paces = [pace_of(self._settings.straggler, seed, worker) for worker in range(self._workers)]
        self.step = self._scheduled = start.step
        self._open_data(seed, start.position)
        self._warm_up()

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        # A second call in flight would be a step ahead of what callbacks decide after every batch.
        most = self._workers if proposal.consult >= Consult.BATCH_ENDS else self._most_in_flight
        while self._in_flight < most and self._scheduled < total:
            steps = min(proposal.steps, total - self._scheduled)
            self._in_flight += 1
            self._scheduled += steps
            self._cluster.schedule(self._execute, self._iterators, steps)
        return self._collect(), proposal

    def agree(self, wish: Decision) -> Decision:
        if wish.learning_rate is not None:
            self.model.optimizer.learning_rate.assign(wish.learning_rate)
        return wish

    def adopt(self, start: Snapshot | None) -> None:
        if start is not None:
            state.load(self.model, start)

    def drain(self) -> Sequence[Call]:
        calls: list[Call] = []
        while self._in_flight:
            calls += self._collect()
        return calls

    def snapshot(self, clock: float) -> Snapshot:
        """The state, read while workers continue: variables may be a few updates apart, but each is consistent."""
        step = int(self._counter.numpy())
        for optimizer, times, offset in zip(optimizers(self.model), self._steps.per_step, self._offsets, strict=True):
            if times:
                iterations(optimizer).assign(self._updates(step) * times + offset)
        return Snapshot(
            step=step,
            samples=step * self._settings.batch_size,
            clock=clock,
            weights=tuple(v.numpy() for v in self._read_weights()),
            optimizer=tuple(v.numpy() for v in self._read_optimizer()),
        )

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
        step = self._strategy, self.model, self._train_step, self._counter, self._element_spec
        return AsyncSteps(*step, timer, self._offsets, self.weigh, self.gathering)

    def _make_gathering(self) -> Gathering | None:
        """Called when the model is built, and before a step is traced."""
        return None

    def _updates(self, step: int) -> int:
        """Updates of the weights that `step` counted steps have made."""
        return step

    def _staleness(self, numbers: IntArray, reads: IntArray) -> FloatArray:
        """The staleness of updates with these numbers, which read the weights after so many updates."""
        return (numbers - 1 - reads).astype(np.float64)

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

    def _execute(self, iterator: Any, steps: int) -> None:
        """Run a call on one worker, from the chief's dispatch thread for it.

        Results go to a queue instead of a RemoteValue, so that the chief receives them in order of completion and does
        not wait for a slow worker.
        """
        worker = current_worker()
        pace = self._paces[worker]
        started = time.monotonic()
        if pace is not None:
            time.sleep(sum(pace.seconds() for _ in range(steps)))
        slept = time.monotonic() - started
        logs, numbers, reads = endless(self._steps, iterator, steps)
        self._ran(worker, reads)
        busy, waited = measured(logs[0]), measured(logs[1])
        self._completed.put(
            Call(
                worker=worker,
                steps=numbers,
                logs=logs[2:].reshape(len(numbers), -1).astype(np.float64),
                started=started,
                ended=time.monotonic(),
                staleness=self._staleness(numbers, reads[:-1]),
                busy=None if busy is None else busy + slept,
                input_wait=waited,
            )
        )

    def _ran(self, worker: int, reads: IntArray) -> None:
        """`worker` has taken steps; `reads` are the updates applied when each read the weights, and after the last."""

    def _collect(self) -> list[Call]:
        """Wait for one call if any is in flight; returns it and all others that have completed."""
        if not self._in_flight:
            return []
        calls = [self._cluster.get(self._completed)]
        while not self._completed.empty():
            calls.append(self._completed.get())
        self._in_flight -= len(calls)
        self.step += sum(len(call.steps) for call in calls)
        return calls
