"""One training step: `model.train_step` as the user's model has it, made safe to repeat on any replica.

Keras' `train_step` keeps running means in metric variables. That gives the mean since the epoch began instead
of this step's loss, and under ParameterServerStrategy each update of one is a racy remote write. `StepScope`
keeps chosen variables local to the step: they start from a given value, are updated as tensors, and are
forgotten afterwards. Every other variable behaves as always, so a custom `train_step` works unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.api import Job
from workers.errors import NoLossError, NotCompiledError
from workers.model.optimizers import build_optimizers
from workers.model.scope import step_scope

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    Logs = dict[str, tf.Tensor]
    Step = Callable[[Any], tf.Tensor]


class TrainStep:
    """`model.train_step` as a function from a batch to one float vector, `names` telling what is in it."""

    def __init__(self, model: keras.Model, also: Callable[[], Logs] = dict) -> None:
        """`also`: what else is to be logged of a step, asked for when it has been traced."""
        self.model = model
        self._also = also
        self._raised: Exception | None = None
        self.names: tuple[str, ...] = ()
        """What the vector holds, `loss` first; known once the step has been traced."""

    def __call__(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]] = ()) -> tf.Tensor:
        """Take one step and return what it logged, for this batch alone. Call inside a `tf.function`."""
        import tensorflow as tf

        # As Keras' own `fit` does: autograph would rewrite the user's code and blur their tracebacks.
        return tf.autograph.experimental.do_not_convert(self._noting)(batch, local)

    def _noting(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]]) -> tf.Tensor:
        try:
            return self._take(batch, local)
        except Exception as error:
            self._raised = error
            raise

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Around the tracing of a call: what the user's `train_step` raises leaves as it was raised.

        Autograph would retell it as an error of its own, with the user's traceback as text.
        """
        try:
            yield
        except Exception:
            if self._raised is not None:
                raise self._raised from None
            raise

    def _take(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]]) -> tf.Tensor:
        import tensorflow as tf

        zeros = [(v, tf.zeros(v.shape, v.dtype)) for v in self.model.metrics_variables]
        with step_scope([*zeros, *local]):
            for metric in self.model.metrics:
                metric.reset_state()
            logs = self.model.train_step(batch)
        if not isinstance(logs, dict) or "loss" not in _flat(logs):
            raise NoLossError(
                f"{type(self.model).__name__}.train_step returned {_describe(logs)}; Regatta needs a dict with "
                'the step\'s loss in it: return {"loss": loss, ...}'
            )
        logs = _flat(logs)
        scalars = {name: tf.cast(value, tf.float32) for name, value in logs.items() if _is_scalar(value)}
        if "loss" not in scalars:
            raise NoLossError(
                f"the loss that {type(self.model).__name__}.train_step returned has shape {logs['loss'].shape}; "
                "it has to be one number: take the mean over the batch"
            )
        scalars |= self._also()
        self.names = ("loss", *(name for name in scalars if name != "loss"))
        return tf.stack([scalars[name] for name in self.names])


def _flat(logs: dict[str, Any]) -> dict[str, Any]:
    """As Keras' own `fit` does: `{m.name: m.result() for m in self.metrics}` has a dict for all compiled metrics."""
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def _is_scalar(value: Any) -> bool:
    return len(getattr(value, "shape", ())) == 0


def _describe(logs: object) -> str:
    return f"a dict with {sorted(logs)}" if isinstance(logs, dict) else f"{type(logs).__name__}"


def make_model(job: Job, seed: int, batch: Any) -> keras.Model:
    """The job's model, with every variable of it and its optimizer created as `fit` would before its first step.

    Keras numbers layers and metrics through (`auc`, `auc_1`): it begins anew here, so that all models that are built
    in a process have the names that the first one has.
    """
    import keras
    from keras.src.utils.naming import reset_uids  # beside `clear_session`, which would forget far more

    reset_uids()
    keras.utils.set_random_seed(seed)
    model = job.build_model()
    try:
        build(model, batch)
    except Exception as error:
        error.add_note(f"It was to be built for batches like {described(batch)}.")
        raise
    return model


def described(batch: Any) -> str:
    """Shapes and types: `(x (None, 8) float32, ...)`, as the batch is nested."""
    import tensorflow as tf

    def one(part: Any) -> str:
        return f"{part.dtype.name}[{', '.join(map(str, part.shape))}]"

    return str(tf.nest.map_structure(one, batch)).replace("'", "")


def build(model: keras.Model, batch: Any) -> None:
    """Create every variable of a compiled model and its optimizer."""
    if not getattr(model, "compiled", False):
        raise NotCompiledError(
            f"build_model returned a {type(model).__name__} that is not compiled: end it with "
            "model.compile(optimizer=..., loss=..., metrics=[...])."
        )
    model._symbolic_build(data_batch=batch)
    build_optimizers(model, batch)
