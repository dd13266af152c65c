"""One training step: the model's own `train_step`, made to log its own loss and to run on any replica.

Keras' `train_step` keeps running means in metric variables. They give the mean since the epoch began instead of this
step's loss, and under ParameterServerStrategy each update of one is a racy remote write. `StepScope` keeps chosen
variables local to the step: they start from a given value, are updated as tensors, and are forgotten afterwards. Every
other variable behaves as usual, so a custom `train_step` works unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.api import Job
from workers.errors import NoLossError, NotCompiledError
from workers.model.held_state import only_held
from workers.model.logs import element_names
from workers.model.optimizer_guard import only
from workers.model.optimizers import build_optimizers, optimizers
from workers.model.scope import step_scope
from workers.model.targets import matching_targets, no_loss
from workers.model.watched import have_watched

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    Logs = dict[str, tf.Tensor]
    Step = Callable[[Any], tf.Tensor]


SUM_OF_LOSSES = "sum of losses"
"""Name of a step's loss if its `train_step` returns several, as `d_loss` and `g_loss`, and none called `loss`."""
_EAGER = (
    "The model is compiled with run_eagerly=True, which Regatta cannot do: it compiles steps into graphs. Leave that "
    "out, and see whether `fit` trains the model then; a step's values have no .numpy() in a graph."
)


class TrainStep:
    """`model.train_step` as a function from a batch to one float vector, whose entries are named by `names`."""

    def __init__(self, model: keras.Model, more_logs: Callable[[], Logs] = dict) -> None:
        """`more_logs` returns further values to log; called at the end of tracing a step."""
        self.model = model
        self._more_logs = more_logs
        self._raised: Exception | None = None
        self.names: tuple[str, ...] = ()
        """Names of the logged values, the loss first; known once the step has been traced."""
        self.within: Any = None  # the scope around the replicas' threads that shares local variables
        self.updates: Mapping[int, int] = {}
        """How often a step assigns to each variable that is local to it, by its id; known with the names."""

    def __call__(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]] = ()) -> tf.Tensor:
        """Take one step and return what it logged, for this batch alone. Call inside a `tf.function`."""
        import tensorflow as tf

        # As in Keras' own `fit`: AutoGraph would rewrite the user's code and obscure tracebacks.
        return tf.autograph.experimental.do_not_convert(self._recording_errors)(batch, local)

    def on_replicas(self, strategy: tf.distribute.Strategy, *args: Any) -> Any:
        """Take the step on every replica of this process; returns what they logged, per replica.

        An optimizer's updates run in the calling thread, while the replicas' own threads wait for them. So an error in
        one reaches this thread, and the replicas are told to stop, by an exception without a message.
        """
        import tensorflow as tf

        return tf.autograph.experimental.do_not_convert(self._run)(strategy, args)

    def _run(self, strategy: tf.distribute.Strategy, args: tuple[Any, ...]) -> Any:
        try:
            return strategy.run(self, args=args)
        except Exception as error:
            self._raised = self._raised or error
            raise

    def _recording_errors(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]]) -> tf.Tensor:
        try:
            return self._take(batch, local)
        except Exception as error:
            if type(error) is ValueError and "No loss to compute" in str(error):
                self._raised = no_loss(self.model)
            elif type(error).__name__ != "_RequestedStop":
                self._raised = error
            raise

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Re-raise what the user's `train_step` or optimizer raises while a call is traced in this context.

        AutoGraph would raise an error of its own, with the user's traceback as text.
        """
        try:
            yield
        except Exception:
            if self._raised is not None:
                raised, self._raised = self._raised, None
                if self.model.run_eagerly:
                    raised.add_note(_EAGER)
                raise raised from None
            raise

    def _take(self, batch: Any, local: Iterable[tuple[keras.Variable, tf.Tensor]]) -> tf.Tensor:
        import tensorflow as tf

        zeros = [(v, tf.zeros(v.shape, v.dtype)) for v in self.model.metrics_variables]
        with step_scope([*zeros, *local], self.within) as scope:
            for metric in self.model.metrics:
                metric.reset_state()
            with only(optimizers(self.model), self.model), only_held(self.model):
                logs = self.model.train_step(batch)
            if isinstance(logs, dict):
                logs = _read(logs)
        self.updates = scope.updates
        if isinstance(logs, dict):
            logs = _with_loss(_flat(logs))
        if not isinstance(logs, dict) or not {"loss", SUM_OF_LOSSES} & logs.keys():
            raise NoLossError(
                f"{type(self.model).__name__}.train_step returned {_describe(logs)}; Regatta needs a dict with "
                'the step\'s loss: return {"loss": loss, ...}, or losses whose names end in loss, as d_loss'
            )
        loss = "loss" if "loss" in logs else SUM_OF_LOSSES
        if not _is_scalar(logs[loss]):
            raise NoLossError(
                f"the loss that {type(self.model).__name__}.train_step returned has shape {logs[loss].shape}; "
                "it has to be one number: take the mean over the batch"
            )
        scalars = self._scalars(logs, batch) | self._more_logs()
        self.names = (loss, *(name for name in scalars if name != loss))
        return tf.stack([scalars[name] for name in self.names])

    def _scalars(self, logs: Logs, batch: Any) -> Logs:
        """The numbers among `logs` as scalars: of vectors, the mean and the elements. Text is left out."""
        import tensorflow as tf

        found: Logs = {}
        for name, value in logs.items():
            vector = tf.convert_to_tensor(value)
            if vector.dtype == tf.string or (vector.shape.rank != 0 and self._is_by_sample(name, vector, batch)):
                continue
            vector = tf.cast(vector, tf.float32)
            if vector.shape.rank == 0:
                found[name] = vector
                continue
            found[name] = tf.reduce_mean(vector)
            if vector.shape.is_fully_defined():
                names = element_names(name, vector.shape.as_list(), logs.keys())
                found |= dict(zip(names, tf.unstack(tf.reshape(vector, [-1])), strict=True)) if names else {}
        return found

    def _is_by_sample(self, name: str, vector: tf.Tensor, batch: Any) -> bool:
        """Whether a logged vector is no metric, but something that a custom `train_step` returns for every sample."""
        import tensorflow as tf

        if name in _flat(self.model.get_metrics_result()):
            return False
        sizes = {part.shape[0] for part in tf.nest.flatten(batch) if part.shape.rank}
        return vector.shape.rank is None or vector.shape[0] is None or vector.shape[0] in sizes


def _flat(logs: dict[str, Any]) -> dict[str, Any]:
    """Flatten nested logs, as Keras' `fit` does: `{m.name: m.result() ...}` has a dict for all compiled metrics."""
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def _with_loss(logs: dict[str, Any]) -> dict[str, Any]:
    """`logs`, with the sum of those that are losses by name, unless there is a `loss`."""
    parts = [value for name, value in logs.items() if name.endswith("loss") and _is_scalar(value)]
    return logs if "loss" in logs or not parts else {SUM_OF_LOSSES: sum(parts), **logs}


def _read(logs: dict[str, Any]) -> dict[str, Any]:
    """The values of those variables that `logs` holds: outside of the step's scope, they would be those before it."""
    import keras

    def one(value: Any) -> Any:
        if isinstance(value, dict):
            return _read(value)
        return value.value if isinstance(value, keras.Variable) else value

    return {name: one(value) for name, value in logs.items()}


def _is_scalar(value: Any) -> bool:
    return len(getattr(value, "shape", ())) == 0


def _describe(logs: object) -> str:
    return f"a dict with {sorted(logs)}" if isinstance(logs, dict) else f"{type(logs).__name__}"


def make_model(job: Job, seed: int, batch: Any) -> keras.Model:
    """Build the job's model, with every variable of it and its optimizer created as `fit` would before its first step.

    Keras numbers layers and metrics per process (`auc`, `auc_1`). The count restarts here, so that all models built in
    a process have the names of the first one.
    """
    import keras
    from keras.src.utils.naming import reset_uids  # `clear_session` would reset far more

    reset_uids()
    keras.utils.set_random_seed(seed)
    model = job.build_model()
    try:
        build(model, batch)
    except Exception as error:
        error.add_note(f"Raised while the model was built for batches like {described(batch)}.")
        raise
    return model


def _steps_without_call(model: keras.Model) -> bool:
    """Whether the model's own `train_step` uses its parts, as in GANs, so that `fit` never calls the model itself."""
    import keras

    own_step = type(model).train_step is not keras.Model.train_step
    return own_step and type(model).call is keras.Model.call


def described(batch: Any) -> str:
    """Describe a batch by dtypes and shapes, nested as it is: `(float32[32, 8], int64[32])`."""
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
    with matching_targets(model, batch, described(batch)):
        try:
            model._symbolic_build(data_batch=batch)
        except RuntimeError:
            if not _steps_without_call(model):
                raise
        for variable in model.trainable_variables:
            have_watched(variable)
        build_optimizers(model, batch)
