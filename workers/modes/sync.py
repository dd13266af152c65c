"""Synchronous: every replica takes each step together, gradients summed by all-reduce.

The topology decides the strategy: several workers form a MultiWorkerMirroredStrategy, one worker with several
devices a MirroredStrategy, one device needs none.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.api import Job
from workers.data.stream import checked, first_batch, training_stream
from workers.messages import Assignment, Position
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import optimizers
from workers.model.step import TrainStep, make_model
from workers.modes import Call, Consult, Decision
from workers.modes.balance import MEASURED_STEPS, WARM_STEPS, shares
from workers.modes.gradient_norms import SquareNorms
from workers.modes.joined_batch import as_if_alone, count_sums_for_all, refuse_unsupported
from workers.modes.reducer import Reducer, average_gradients
from workers.modes.shared_memory import Neighbours, listen
from workers.modes.step_timer import StepTimer, known
from workers.snapshot import Snapshot
from workers.stragglers import Pace, pace_of
from workers.task_log import say

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_DECISION_FIELDS = 6


class SyncMode:
    """One worker of a synchronous group; `worker:0` leads."""

    doubled_updates = 0

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self.leads = assignment.task.index == 0
        self.step = 0
        self._assignment = assignment
        self._job = job
        self._addresses = assignment.tf_config.get("cluster", {}).get("worker", ())
        self._workers = max(1, len(self._addresses))
        self._agreed: Decision | None = None
        self._pace: Pace | None = None
        self.shares: tuple[int, ...] = ()

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._train_step.names

    def build(self) -> None:
        listener = None if self._assignment.gpus else listen(self._assignment.task.index, self._addresses)
        self._strategy = self._make_strategy()  # which waits for all workers to be there
        self._replicas = self._strategy.num_replicas_in_sync
        self._local_replicas = self._replicas // self._workers
        self.batches_per_step = self._replicas
        timed = self._assignment.timings or self._assignment.balance
        timed = timed and self._assignment.gpus == 0 and self._local_replicas == 1
        self._timer = StepTimer(timed)
        self._neighbours = self._meet(listener) if listener else None
        seed = self._assignment.seed
        stream = self._stream(seed)
        batch = first_batch(stream, "train_dataset")
        with self._strategy.scope():
            self.model: keras.Model = make_model(self._job, seed, batch)
        # Without equal batches there are no two batch sizes to compare.
        norms = SquareNorms() if self._assignment.gradient_noise and not self._assignment.balance else None
        if self._replicas > 1:
            reducer = Reducer(self._timer, self._neighbours)
            for optimizer in optimizers(self.model):
                refuse_unsupported(optimizer)
                average_gradients(optimizer, self._divisor, reducer, norms)
            count_sums_for_all(self.model, self._divisor)
        self._train_step = TrainStep(self.model, norms.take if norms else dict)
        self._run = self._make_run()
        self._collect = self._make_collect()
        self._iterator = self._iterate(stream)
        with self._train_step.traced():
            self._run_call(0, Decision())
        if self._assignment.balance and self._workers > 1:
            self._balance(seed)

    def _balance(self, seed: int) -> None:
        """Measure how long this worker takes for an equal share, apart from waiting for others; and cut anew."""
        import tensorflow as tf

        mine = self._assignment.task.index
        pace = pace_of(self._assignment.straggler, seed, mine)
        self._run_call(WARM_STEPS, Decision())
        started = time.monotonic()
        if pace is not None:
            time.sleep(sum(pace.seconds() for _ in range(MEASURED_STEPS)))
        _, _, (_, communication) = self._run_call(MEASURED_STEPS, Decision())
        own = np.zeros(self._workers, np.float32)
        spent = time.monotonic() - started
        own[mine] = math.nan if communication is None else spent - communication  # not seen: shares stay equal
        (everybodys,) = self._collect([tf.constant(own)], tf.constant(1))
        seconds = self._strategy.experimental_local_results(everybodys)[0].numpy()
        self.shares = shares(seconds.tolist(), self._workers * self._assignment.batch_size)
        self._run = self._make_run()
        self._iterator = self._iterate(self._stream(seed))
        self._run_call(0, Decision())

    def _divisor(self) -> float:
        """What this worker's gradients and logs are divided by before all workers' are summed."""
        if not self.shares:
            return float(self._replicas)
        return sum(self.shares) / self.shares[self._assignment.task.index]

    def scale_schedule(self, factor: float) -> None:
        if scale_schedule(self.model, factor):
            self._run = self._make_run()

    def begin(self, start: Snapshot, seed: int) -> None:
        self.adopt(start)
        self._iterator = self._iterate(self._stream(seed, start.position))
        self.step = start.step
        self._agreed = None
        self._pace = pace_of(self._assignment.straggler, seed, self._assignment.task.index)
        self._run_call(0, Decision())  # nobody starts the clock before everybody is here

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        steps = min((self._agreed or proposal).steps, boundary - self.step)
        started = time.monotonic()
        if self._pace is not None:
            drawn = sum(self._pace.seconds() for _ in range(steps))
            time.sleep(drawn * self._replicas / self._divisor())  # for as many samples as it has
        logs, self._agreed, (input_wait, communication) = self._run_call(steps, proposal)
        ended = time.monotonic()
        first = self.step + 1
        self.step += steps
        numbers = np.arange(first, self.step + 1, dtype=np.int64)
        call = Call(
            worker=self._assignment.task.index,
            steps=numbers,
            logs=logs,
            started=started,
            ended=ended,
            busy=ended - started,
            input_wait=input_wait,
            communication=communication,
        )
        return [call], self._agreed

    def agree(self, wish: Decision) -> Decision:
        _, self._agreed, _ = self._run_call(0, wish)
        if self._agreed.learning_rate is not None:
            self.model.optimizer.learning_rate.assign(self._agreed.learning_rate)
        return self._agreed

    def adopt(self, start: Snapshot | None) -> None:
        if self.leads and start is not None:
            state.load(self.model, start)
        if self._workers > 1:
            self._copy_from_leader()

    def drain(self) -> Sequence[Call]:
        return ()

    def snapshot(self, clock: float) -> Snapshot:
        samples = self.step * self._replicas * self._assignment.batch_size
        return state.read(self.model, step=self.step, samples=samples, clock=clock)

    def _make_strategy(self) -> tf.distribute.Strategy:
        import tensorflow as tf

        spread = self._assignment.devices_per_replica > 1  # a worker is one replica, whatever it has
        if self._workers > 1:
            return tf.distribute.MultiWorkerMirroredStrategy(_one_replica_each() if spread else None)
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        if len(devices) > 1 and not spread:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        return tf.distribute.get_strategy()

    def _meet(self, listener: socket.socket) -> Neighbours | None:
        """The other workers, if they share this one's memory; all of them or nobody."""
        if self._local_replicas > 1:
            listener.close()
            return None
        met = Neighbours.meet(self._assignment.task.index, listener, self._addresses)
        if met is not None:
            say(f"{self._workers} workers on this host exchange gradients through shared memory")
        return met

    def _stream(self, seed: int, position: Position = ()) -> tf.data.Dataset:
        stream = training_stream(
            self._job,
            batch_size=self._assignment.batch_size,
            seed=seed,
            num_shards=self._workers,
            shard_index=self._assignment.task.index,
            sharding=self._assignment.sharding,
            cache=self._assignment.cache,
            prefetch=self._assignment.prefetch,
            position=position,
            shares=self.shares,
        )
        return checked(stream, "train_dataset")

    def _iterate(self, stream: tf.data.Dataset) -> Any:
        """One batch per local replica and step. A worker with one device needs no distributed iterator."""
        if self._local_replicas == 1:
            return iter(stream)
        return iter(self._strategy.distribute_datasets_from_function(lambda _: stream))

    def _make_run(self) -> Any:
        """The compiled call: k steps, then one collective that carries their losses and the decision.

        Reducing the losses once per call instead of once per step saves a collective per step; the leader's
        wishes for the next call (`Decision`) ride along, which is how all replicas obey at the same step.
        """
        import tensorflow as tf

        strategy, train_step, divisor, timer = self._strategy, self._train_step, self._divisor(), self._timer

        @tf.function
        def run(iterator: Any, steps: tf.Tensor, decision: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            rows = tf.TensorArray(tf.float32, size=steps)
            waited = communication = tf.zeros([], tf.float64)
            for n in tf.range(steps):
                batch, wait = timer.next(iterator)
                with as_if_alone(strategy):
                    row = strategy.run(train_step, args=(batch,))
                waited += wait
                communication += timer.communication()
                local = strategy.experimental_local_results(row)
                rows = rows.write(n, tf.add_n(local) / divisor)
            # A TensorArray without elements has no element shape to stack.
            logs = tf.cond(steps > 0, lambda: tf.reshape(rows.stack(), [-1]), lambda: tf.zeros([0]))
            flat = tf.concat([decision, logs], axis=0)
            if self._workers > 1:
                share = flat / self._local_replicas
                flat = strategy.run(_all_reduce, args=(share,))
                flat = strategy.experimental_local_results(flat)[0]
            return flat[:_DECISION_FIELDS], flat[_DECISION_FIELDS:], tf.stack([waited, communication])

        return run

    def _run_call(
        self, steps: int, proposal: Decision
    ) -> tuple[np.ndarray[Any, Any], Decision, tuple[float | None, float | None]]:
        """What each step logged, the decision, and seconds waited for input and for other workers."""
        import tensorflow as tf

        wish = _encode(proposal) if self.leads else np.zeros(_DECISION_FIELDS, np.float32)
        before = self._seconds_with_neighbours
        decision, logs, spent = self._run(self._iterator, tf.constant(steps), tf.constant(wish))
        waited, communication = spent.numpy()
        communication += self._seconds_with_neighbours - before
        width = max(1, len(self.log_names))
        rows = logs.numpy().reshape(-1, width).astype(np.float64)
        return rows, _decode(decision.numpy()), (known(waited), known(communication))

    @property
    def _seconds_with_neighbours(self) -> float:
        return self._neighbours.seconds if self._neighbours else 0.0

    def _make_collect(self) -> Any:
        import tensorflow as tf

        reducer = Reducer(StepTimer(enabled=False), self._neighbours)

        @tf.function
        def collect(values: list[tf.Tensor], mine: tf.Tensor) -> Any:
            masked = [tf.where(mine > 0, v, tf.zeros_like(v)) for v in values]
            return self._strategy.run(lambda: reducer.sum(masked))

        return collect

    def _copy_from_leader(self) -> None:
        """Give every worker the leader's state, so that only the leader has to hold a snapshot."""
        import tensorflow as tf

        variables = [*state.state_variables(self.model), *state.optimizer_variables(self.model)]
        mine = tf.constant(1 if self.leads else 0)
        per_replica = self._local_replicas
        values = [tf.constant(state.to_numpy(v)) for v in variables]
        for variable, total in zip(variables, self._collect(values, mine), strict=True):
            local = self._strategy.experimental_local_results(total)[0]
            variable.assign(tf.cast(local / per_replica if per_replica > 1 else local, variable.dtype))


def _one_replica_each() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The cluster of TF_CONFIG, in which the strategy makes use of one device of each worker."""
    import tensorflow as tf

    class OneReplicaEach(tf.distribute.cluster_resolver.TFConfigClusterResolver):  # type: ignore[misc]
        def num_accelerators(self, *arguments: Any, **options: Any) -> dict[str, int]:
            found: dict[str, int] = super().num_accelerators(*arguments, **options)
            return {kind: min(1, count) for kind, count in found.items()}

    return OneReplicaEach()


def _all_reduce(value: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    here = tf.identity(value)  # on this replica's device: the collective asks for one
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


def _encode(wish: Decision) -> np.ndarray[Any, Any]:
    rate = wish.learning_rate
    fields = [wish.steps, wish.stop, rate is not None, rate or 0.0, wish.rewritten, wish.consult]
    return np.array(fields, np.float32)


def _decode(values: np.ndarray[Any, Any]) -> Decision:
    steps, stop, has_rate, rate, rewritten, consult = (float(v) for v in values)
    return Decision(max(1, int(steps)), stop > 0, rate if has_rate > 0 else None, rewritten > 0, Consult(int(consult)))
