"""Runs functions on the workers of a parameter-server cluster, through TensorFlow's ClusterCoordinator."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from workers.failures import classify
from workers.messages import FailureKind

if TYPE_CHECKING:
    import tensorflow as tf

_T = TypeVar("_T")
_ERROR_CHECK_SECONDS = 0.5


class PsWorkers:
    """Runs functions on every worker, or on the next free one. For the chief."""

    def __init__(self, strategy: tf.distribute.Strategy, count: int) -> None:
        import tensorflow as tf

        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._count = count
        self._errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def create_on_each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run `function` once on each worker, and again on one that returns after a failure.

        Returns the per-worker results. TensorFlow keeps its errors in the result until that is used; `get` raises them.
        """

        def guarded(*received: Any) -> Any:
            try:
                return function(*received)
            except Exception as error:
                if classify(error) is not FailureKind.PEER:  # TensorFlow waits for a lost worker itself
                    self._errors.put(error)
                raise

        return self._coordinator._create_per_worker_resources(guarded, args=arguments)

    def run_on_each(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run `function` on each worker, and wait until all have run it."""
        done: queue.SimpleQueue[int] = queue.SimpleQueue()

        def run(*received: Any) -> None:
            function(*received)
            done.put(current_worker())

        self.create_on_each(run, *arguments)
        missing = set(range(self._count))
        while missing:  # a worker that is lost and returns meanwhile runs it twice
            missing.discard(self.get(done))

    def schedule(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run `function` in the chief's dispatch thread for the next free worker, with its device in scope."""
        # The public `schedule` accepts graphs only; the queue behind it also runs Python functions.
        self._coordinator._cluster.schedule(function, args=arguments, kwargs={})

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        """Wait for the next item of `source`; raises what a function raised, instead of waiting forever."""
        while True:
            try:
                return source.get(timeout=_ERROR_CHECK_SECONDS)
            except queue.Empty:
                if not self._errors.empty():
                    raise self._errors.get() from None
                self._coordinator.done()


def current_worker() -> int:
    """Index of the worker whose dispatch thread this is.

    TensorFlow's public `experimental_get_current_worker_index` works only inside a graph.
    """
    from tensorflow.python.distribute.coordinator import coordinator_context

    return int(coordinator_context.get_current_dispatch_context().worker_index)
