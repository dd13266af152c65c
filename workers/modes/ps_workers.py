"""The workers of a parameter-server cluster, as the chief drives them through TensorFlow's ClusterCoordinator."""

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
    """Runs functions on every worker, or on whichever is free."""

    def __init__(self, strategy: tf.distribute.Strategy, count: int) -> None:
        import tensorflow as tf

        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._count = count
        self._errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def on_each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function` run once on each worker, and again on one that returns after a failure; the per-worker results.

        TensorFlow keeps such errors inside of the resource until it is used; `get` raises them.
        """

        def guarded(*received: Any) -> Any:
            try:
                return function(*received)
            except Exception as error:
                if classify(error) is not FailureKind.PEER:  # TensorFlow itself waits for a lost worker
                    self._errors.put(error)
                raise

        return self._coordinator._create_per_worker_resources(guarded, args=arguments)

    def once_on_each(self, function: Callable[..., Any], *arguments: Any) -> None:
        """As `on_each`, and wait until every worker has run `function`."""
        done: queue.SimpleQueue[int] = queue.SimpleQueue()

        def told(*received: Any) -> None:
            function(*received)
            done.put(current_worker())

        self.on_each(told, *arguments)
        waited_for = set(range(self._count))
        while waited_for:  # a worker that was lost meanwhile, and came back, is told twice
            waited_for.discard(self.get(done))

    def schedule(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run `function` in the chief's dispatch thread of the next free worker, whose device is in scope there."""
        # The public `schedule` takes graphs only; the queue behind it runs Python functions as well.
        self._coordinator._cluster.schedule(function, args=arguments, kwargs={})

    def get(self, source: queue.SimpleQueue[_T]) -> _T:
        """The next item of `source`; raises what a function raised instead of waiting for ever."""
        while True:
            try:
                return source.get(timeout=_ERROR_CHECK_SECONDS)
            except queue.Empty:
                if not self._errors.empty():
                    raise self._errors.get() from None
                self._coordinator.done()


def current_worker() -> int:
    """Index of the worker that the function in this dispatch thread runs on.

    TensorFlow's public `experimental_get_current_worker_index` answers inside of a graph only.
    """
    from tensorflow.python.distribute.coordinator import coordinator_context

    return int(coordinator_context.get_current_dispatch_context().worker_index)
