"""Synchronous mode: all replicas take each step together, and gradients are averaged by all-reduce."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.api import Job
from workers.data.stream import checked, first_batch, training_stream
from workers.messages import Assignment, Counts, Position
from workers.model import state
from workers.model.learning_rate import scale_schedule
from workers.model.optimizers import optimizers
from workers.model.step import TrainStep, make_model
from workers.modes.balance import MEASURED_STEPS, WARM_UP_STEPS, shares
from workers.modes.gradient_norms import SquareNorms
from workers.modes.joined_batch import multiply_sum_losses
from workers.modes.mode import Call, Decision
from workers.modes.reducer import Reducer, average_gradients
from workers.modes.shared_memory import listen, share
from workers.modes.step_timer import StepTimer
from workers.modes.strategies import synchronous_strategy
from workers.modes.sync_call import SyncCall, decoded, encoded
from workers.modes.unsupported import refuse_unsupported
from workers.snapshot import Snapshot
from workers.stragglers import Pace, pace_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class SyncMode:
    """One worker of a synchronous worker group; `worker:0` leads."""

    doubled_updates = 0
    round_steps = 1

    def __init__(self, assignment: Assignment, job: Job) -> None:
        self._rank = assignment.task.index
        self.leads = self._rank == 0
        self.step = 0
        self._settings = assignment.settings
        self._on_cpu = assignment.gpus == 0
        self._job = job
        self._addresses = assignment.tf_config.get("cluster", {}).get("worker", ())
        self._workers = max(1, len(self._addresses))
        self._agreed: Decision | None = None
        self._pace: Pace | None = None
        self.shares: tuple[int, ...] = ()

    @property
    def log_names(self) -> tuple[str, ...]:
        return self._train_step.names

    @property
    def counts(self) -> Counts:
        return Counts(updates=self.step)

    def build(self) -> None:
        listener = listen(self._rank, self._addresses) if self._on_cpu else None
        # Returns when all workers have joined.
        self._strategy = synchronous_strategy(self._workers, self._settings.devices_per_replica)
        self._replicas = self._strategy.num_replicas_in_sync
        self._local_replicas = self._replicas // self._workers
        self.batches_per_step = self._replicas
        timed = self._settings.monitor or self._settings.balance
        self._timer = StepTimer(timed and self._on_cpu and self._local_replicas == 1)
        self._memory = share(listener, self._rank, self._addresses, replicas=self._local_replicas)
        seed = self._settings.seed
        stream = self._stream(seed)
        batch = first_batch(stream, "train_dataset")
        self._reducer = Reducer(self._timer, self._memory)
        self.model: keras.Model = self._make_model(batch)
        self._run = self._make_call()
        self._collect = self._make_collect()
        self._iterator = self._iterate(stream)
        with self._train_step.traced():
            self._run(self._iterator, 0, Decision())
        if self._settings.balance and self._workers > 1:
            self._balance(seed)

    def _make_model(self, batch: Any) -> keras.Model:
        """Build the model, and make its optimizers apply the mean of all replicas' gradients."""
        with self._strategy.scope():
            model = make_model(self._job, self._settings.seed, batch)
        refuse_unsupported(model, self._settings.mode, workers=self._replicas, merges=self._replicas > 1)
        # The noise scale compares two batch sizes, which unequal shares do not have.
        norms = SquareNorms() if self._settings.gradient_noise and not self._settings.balance else None
        if self._replicas > 1:
            for optimizer in optimizers(model):
                average_gradients(optimizer, self._divisor, self._reducer, norms)
            multiply_sum_losses(model, self._divisor)
        self._train_step = TrainStep(model, norms.take if norms else dict)
        return model

    def _balance(self, seed: int) -> None:
        """Measure how long each worker takes for an equal share, without its waits for others, and set the shares."""
        pace = pace_of(self._settings.straggler, seed, self._rank)
        self._run(self._iterator, WARM_UP_STEPS, Decision())
        started = time.monotonic()
        if pace is not None:
            time.sleep(sum(pace.seconds() for _ in range(MEASURED_STEPS)))
        _, _, (_, communication) = self._run(self._iterator, MEASURED_STEPS, Decision())
        own = np.zeros(self._workers, np.float32)
        spent = time.monotonic() - started
        own[self._rank] = 0 if communication is None else spent - communication  # 0: shares stay equal
        (total,) = self._collect([own], np.array(1))
        seconds = self._local(total).numpy()
        self.shares = shares(seconds.tolist(), self._workers * self._settings.batch_size)
        self._run = self._make_call()
        self._iterator = self._iterate(self._stream(seed))
        self._run(self._iterator, 0, Decision())

    def _divisor(self) -> float:
        """What this worker's gradients and logs are divided by, so that their sum over workers is a mean."""
        if not self.shares:
            return float(self._replicas)
        return sum(self.shares) / self.shares[self._rank]

    def scale_schedule(self, factor: float) -> None:
        if scale_schedule(self.model, factor):
            self._run = self._make_call()

    def begin(self, start: Snapshot, seed: int) -> None:
        self.adopt(start)
        self._iterator = self._iterate(self._stream(seed, start.position))
        self.step = start.step
        self._agreed = None
        self._pace = pace_of(self._settings.straggler, seed, self._rank)
        self._run(self._iterator, 0, Decision())  # the clock starts when all workers are ready

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        steps = 1 if self._reducer.varies else self._steps(self._agreed or proposal, boundary - self.step)
        started = time.monotonic()
        if self._pace is not None:
            drawn = sum(self._pace.seconds() for _ in range(steps))
            time.sleep(drawn * self._replicas / self._divisor())  # in proportion to this worker's share
        logs, self._agreed, (input_wait, communication) = self._run(self._iterator, steps, proposal)
        ended = time.monotonic()
        first = self.step + 1
        self.step += steps
        call = Call(
            worker=self._rank,
            steps=np.arange(first, self.step + 1, dtype=np.int64),
            logs=logs,
            started=started,
            ended=ended,
            busy=ended - started,
            input_wait=input_wait,
            communication=communication,
        )
        return [call], self._agreed

    def _steps(self, agreed: Decision, most: int) -> int:
        """How many steps the next call has, at most `most`; the same on every worker."""
        return min(agreed.steps, most)

    def agree(self, wish: Decision) -> Decision:
        # A call of zero steps would cost several times as much, and callbacks may ask at every batch.
        (total,) = self._collect([encoded(wish if self.leads else None)], np.array(1))
        self._agreed = decoded(self._local(total).numpy())
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
        samples = self.step * self._replicas * self._settings.batch_size
        return state.read(self.model, step=self.step, samples=samples, clock=clock)

    def _stream(self, seed: int, position: Position = ()) -> tf.data.Dataset:
        stream = training_stream(
            self._job,
            self._settings,
            seed=seed,
            num_shards=self._workers,
            shard_index=self._rank,
            position=position,
            shares=self.shares,
        )
        return checked(stream, "train_dataset")

    def _iterate(self, stream: tf.data.Dataset) -> Any:
        """Iterate over one batch per local replica and step. A worker with one device needs no distributed iterator."""
        if self._local_replicas == 1:
            return iter(stream)
        return iter(self._strategy.distribute_datasets_from_function(lambda _: stream))

    def _make_call(self) -> SyncCall:
        return self._new_call(SyncCall)

    def _new_call(self, kind: type[SyncCall], **options: Any) -> SyncCall:
        return kind(
            self._strategy,
            self._train_step,
            self._timer,
            workers=self._workers,
            leads=self.leads,
            divisor=self._divisor(),
            seconds_elsewhere=lambda: self._memory.seconds if self._memory else 0.0,
            **options,
        )

    def _make_collect(self) -> Any:
        """Compile a function that sums values over all workers; those with `contributes` = 0 add zeros."""
        import tensorflow as tf

        reducer = Reducer(StepTimer(enabled=False), self._memory)

        @tf.function
        def collect(values: list[tf.Tensor], contributes: tf.Tensor) -> Any:
            masked = [tf.where(contributes > 0, v, tf.zeros_like(v)) for v in values]
            return self._strategy.run(lambda: reducer.sum(masked))

        return collect

    def _variables(self) -> list[keras.Variable]:
        """All variables of the training state."""
        return [*state.state_variables(self.model), *state.optimizer_variables(self.model)]

    def _copy_from_leader(self) -> None:
        """Copy the leader's state to every worker, so that only the leader needs the snapshot."""
        import tensorflow as tf

        variables = self._variables()
        values = [tf.constant(state.to_numpy(v)) for v in variables]
        for variable, total in zip(variables, self._collect(values, np.array(int(self.leads))), strict=True):
            variable.assign(tf.cast(self._local(total), variable.dtype))

    def _local(self, total: Any) -> tf.Tensor:
        """What `_collect` summed, to which each replica of a worker has contributed."""
        local = self._strategy.experimental_local_results(total)[0]
        return local / self._local_replicas if self._local_replicas > 1 else local
