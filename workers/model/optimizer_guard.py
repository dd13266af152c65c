"""Refuses optimizers that a training step uses but the model does not hold.

The state of such an optimizer would be missing from snapshots, and its gradients would be summed over replicas without
being divided. It is noticed when the step is traced, at the optimizer's first `apply`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from workers.errors import UnsupportedOptimizerError

if TYPE_CHECKING:
    import keras

_tracing = threading.local()


@contextmanager
def only(known: Iterable[keras.Optimizer], model: keras.Model) -> Iterator[None]:
    """Let the training step of `model`, traced in this scope and thread, apply the optimizers in `known` and no others.

    Raises:
        UnsupportedOptimizerError: it applies another one, or creates one.
    """
    _install()
    before = getattr(_tracing, "allowed", None)
    pairs = [(optimizer, getattr(optimizer, "inner_optimizer", optimizer)) for optimizer in known]
    _tracing.allowed = {id(optimizer) for pair in pairs for optimizer in pair}, type(model).__name__
    try:
        yield
    except ValueError as error:
        created = _created(error)
        if created is None:
            raise
        raise UnsupportedOptimizerError(
            f"{type(model).__name__}.train_step creates an optimizer ({created}) in the first step. Create it before, "
            "in the model's __init__ or build or in build_model, and keep it in an attribute."
        ) from error
    finally:
        _tracing.allowed = before


def _install() -> None:
    """Have `apply` of Keras' optimizers check the scope it is called in. Once per process."""
    import keras

    for kind in (keras.optimizers.Optimizer, keras.optimizers.LossScaleOptimizer):
        if not hasattr(kind.apply, "regatta_guard"):
            kind.apply = _guarded(kind.apply)


def _guarded(apply: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: keras.Optimizer, *args: Any, **kwargs: Any) -> Any:
        allowed = getattr(_tracing, "allowed", None)
        if allowed is not None and id(self) not in allowed[0]:
            raise UnsupportedOptimizerError(
                f"{allowed[1]}.train_step applies the optimizer {self.name!r} ({type(self).__name__}), which the model "
                "does not hold, so that it would be neither averaged over workers nor saved. Keep it in an attribute "
                "of the model, or in a dict, list or sub-model there."
            )
        return apply(self, *args, **kwargs)

    guarded.regatta_guard = True  # type: ignore[attr-defined]
    return guarded


def _created(error: ValueError) -> str | None:
    """The class of the optimizer in whose constructor `error` was raised; None if there is none."""
    import keras

    for frame, _ in walk_tb(error.__traceback__):
        made = frame.f_locals.get("self")
        if frame.f_code.co_name == "__init__" and isinstance(made, keras.optimizers.Optimizer):
            return type(made).__name__
    return None
