"""Asynchronous: each worker pulls weights from the parameter servers and pushes its gradients when ready.

The chief drives: it sends closures of k fused steps to whichever worker is free, through TensorFlow's
ClusterCoordinator. Workers and parameter servers only run a TensorFlow server (`workers.task.main`); what
a closure computes is `workers.modes.async_steps`.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jobs.api import Job
from workers.data.stream import first_batch, training_stream
from workers.failures import classify
from workers.messages import OUTSTANDING_CALLS, Assignment, FailureKind, Position
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import iterations, optimizers
from workers.model.step import TrainStep, make_model
from workers.modes import Call, Decision
from workers.modes.async_steps import Closure
from workers.modes.step_timer import StepTimer, known
from workers.snapshot import Snapshot
from workers.stragglers import Pace, pace_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_T = TypeVar("_T")
_ERROR_CHECK_SECONDS = 0.5


class AsyncMode:
    """The chief of an asynchronous group."""

    leads = True
    batches_per_step = 1
    shares = ()

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self.step = 0
        self._assignment = assignment
        self._job = job
        self._workers = len(assignment.tf_config["cluster"]["worker"])
        self._completed: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self._in_flight = 0
        self._scheduled = 0
        self._paces: list[Pace | None] = []

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._train_step.names

    @property
    def doubled_updates(self) -> int:
        """Updates applied but not reported: a worker died after applying, and its closure ran again."""
        return int(self._counter.numpy()) - self.step

    def build(self) -> None:
        import tensorflow as tf

        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        self._strategy = tf.distribute.ParameterServerStrategy(resolver)
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self._strategy)
        seed = self._assignment.seed
        stream = self._stream(seed, 0)
        batch = first_batch(stream, "train_dataset")
        with self._strategy.scope():
            self.model: keras.Model = make_model(self._job, seed, batch)
            self._counter = tf.Variable(0, dtype=tf.int64, trainable=False, name="regatta_updates")
        self._train_step = TrainStep(self.model)
        self._element_spec = stream.element_spec
        with self._train_step.traced():
            self._closure = self._make_closure()
        # One call for all of them: read one by one, 20 variables cost 100 ms.
        self._read_weights = tf.function(lambda: _values(state.state_variables(self.model)))
        self._read_optimizer = tf.function(lambda: _values(state.optimizer_variables(self.model)))
        self._open_data(seed)
        self._warm_up()

    def scale_schedule(self, factor: float) -> None:
        if scale_schedule(self.model, factor):
            self._closure = self._make_closure()

    def begin(self, start: Snapshot, seed: int) -> None:
        self.adopt(start)
        self._counter.assign(start.step)
        self._paces = [pace_of(self._assignment.straggler, seed, worker) for worker in range(self._workers)]
        self.step = self._scheduled = start.step
        self._open_data(seed, start.position)
        self._warm_up()

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        while self._in_flight < OUTSTANDING_CALLS * self._workers and self._scheduled < total:
            self._schedule(min(proposal.steps, total - self._scheduled))
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
        """Read while workers go on: each variable is whole, together they may be a few updates apart."""
        step = int(self._counter.numpy())
        for optimizer in optimizers(self.model):
            iterations(optimizer).assign(step)
        return Snapshot(
            step=step,
            samples=step * self._assignment.batch_size,
            clock=clock,
            weights=tuple(v.numpy() for v in self._read_weights()),
            optimizer=tuple(v.numpy() for v in self._read_optimizer()),
        )

    def _stream(self, seed: int, worker: int, position: Position = ()) -> tf.data.Dataset:
        return training_stream(
            self._job,
            batch_size=self._assignment.batch_size,
            seed=seed,
            num_shards=self._workers,
            shard_index=worker,
            sharding=self._assignment.sharding,
            cache=self._assignment.cache,
            prefetch=self._assignment.prefetch,
            position=position,
        )

    def _make_closure(self) -> Closure:
        timer = StepTimer(self._assignment.timings and self._assignment.gpus == 0)
        return Closure(self._strategy, self.model, self._train_step, self._counter, self._element_spec, timer)

    def _open_data(self, seed: int, position: Position = ()) -> None:
        """Fresh iterators, each on its worker, over that worker's shard, less what was taken of it."""
        import tensorflow as tf

        functions = [
            tf.function(lambda worker=worker: self._stream(seed, worker, position)).get_concrete_function()
            for worker in range(self._workers)
        ]

        self._iterators = self._on_every_worker(lambda: iter(functions[current_worker()]()))

    def _warm_up(self) -> None:
        """Zero steps on every worker: functions are instantiated there and nothing is trained."""

        warmed: queue.SimpleQueue[int] = queue.SimpleQueue()

        def touch(iterator: Any) -> None:
            self._closure(iterator, 0)
            warmed.put(current_worker())

        self._on_every_worker(touch, self._iterators)
        waited_for = set(range(self._workers))
        while waited_for:  # one that was lost meanwhile, and came back, says it twice
            waited_for.discard(self._get(warmed))

    def _on_every_worker(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function` run once on each worker, and again on one that comes back from a failure.

        TensorFlow keeps such errors inside of the resource until somebody uses it; `_get` raises them.
        """

        def guarded(*received: Any) -> Any:
            try:
                return function(*received)
            except Exception as error:
                if classify(error) is not FailureKind.PEER:  # TensorFlow itself waits for a lost worker
                    self._errors.put(error)
                raise

        return self._coordinator._create_per_worker_resources(guarded, args=arguments)

    def _schedule(self, steps: int) -> None:
        self._in_flight += 1
        self._scheduled += steps
        # The public `schedule` takes graphs only; the queue behind it runs Python functions as well.
        self._coordinator._cluster.schedule(self._execute, args=(self._iterators, steps), kwargs={})

    def _execute(self, iterator: Any, steps: int) -> None:
        """Runs in the chief's dispatch thread for one worker, whose device is in scope.

        Results go to a queue instead of a RemoteValue, so that the chief takes them in order of completion
        and a slow worker holds nobody up.
        """
        worker = current_worker()
        pace = self._paces[worker]
        started = time.monotonic()
        if pace is not None:
            time.sleep(sum(pace.seconds() for _ in range(steps)))
        slept = time.monotonic() - started
        logs, numbers, reads = self._closure(iterator, steps)
        busy, waited = known(logs[0]), known(logs[1])
        self._completed.put(
            Call(
                worker=worker,
                steps=numbers,
                logs=logs[2:].reshape(len(numbers), -1).astype(np.float64),
                started=started,
                ended=time.monotonic(),
                staleness=(numbers - 1 - reads).astype(np.float64),
                busy=None if busy is None else busy + slept,
                input_wait=waited,
            )
        )

    def _collect(self) -> list[Call]:
        """At least one completed call if any is in flight, and whatever else is there."""
        if not self._in_flight:
            return []
        calls = [self._get(self._completed)]
        while not self._completed.empty():
            calls.append(self._completed.get())
        self._in_flight -= len(calls)
        self.step += sum(len(call.steps) for call in calls)
        return calls

    def _get(self, source: queue.SimpleQueue[_T]) -> _T:
        """The next item; raises what a closure raised instead of waiting for ever."""
        while True:
            try:
                return source.get(timeout=_ERROR_CHECK_SECONDS)
            except queue.Empty:
                if not self._errors.empty():
                    raise self._errors.get() from None
                self._coordinator.done()


def current_worker() -> int:
    """Which worker the closure in this dispatch thread runs on.

    TensorFlow's public `experimental_get_current_worker_index` answers inside of a graph only.
    """
    from tensorflow.python.distribute.coordinator import coordinator_context

    return int(coordinator_context.get_current_dispatch_context().worker_index)


def _values(variables: list[keras.Variable]) -> list[tf.Tensor]:
    import tensorflow as tf

    return [tf.convert_to_tensor(variable.value) for variable in variables]
