"""Refuses state that a training step uses but the model does not hold, such as a plain `tf.Variable` in a layer.

A snapshot holds the Keras variables of the model and its optimizers, and so do the copies that callbacks, the evaluator
and a resumed run work on. Any other state of a step would be missing there without a word. What a step uses is known
when it is traced: its graph captures it.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workers.errors import OtherStateError
from workers.model.optimizers import optimizers
from workers.model.state import optimizer_variables, state_variables

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_TABLE_WRITES = ("LookupTableInsertV2", "LookupTableRemoveV2", "LookupTableImportV2")
_REMEDY = (
    "Create it with self.add_weight(..., trainable=False), or as a keras.Variable or keras.random.SeedGenerator in an "
    "attribute of a layer or of the model; what never changes can be a tf.constant."
)


@contextmanager
def only_held(model: keras.Model) -> Iterator[None]:
    """Let what is traced in this context use the variables of `model` and its optimizers, and no others.

    Raises:
        OtherStateError: it uses another one, or writes to a lookup table. Names it, and who keeps it.
    """
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    before = _captured(graph)
    yield
    known = {id(handle) for variable in _held(model) for handle in _handles(variable._value)} | _of_collectives()
    others = {key: handle for key, handle in _captured(graph).items() if key not in before and key not in known}
    if not others:
        return
    for owner in _owners(others):
        raise OtherStateError(
            f"{_described(model, owner)} is used in the training step, but is no variable of the model, so that it "
            f"would be missing from checkpoints, evaluations and other workers. {_REMEDY}"
        )
    if _writes_to_tables(graph):
        raise OtherStateError(
            f"{type(model).__name__} writes to a lookup table in the training step, which would be missing from "
            "checkpoints, evaluations and other workers. Fill the table in build_model, or count in a variable: "
            "self.add_weight(..., trainable=False)."
        )


def _held(model: keras.Model) -> Iterator[keras.Variable]:
    from keras.src.backend.common.global_state import get_global_attribute
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

    yield from state_variables(model)
    yield from model.metrics_variables
    yield from optimizer_variables(model)
    if (drawn := get_global_attribute(GLOBAL_SEED_GENERATOR)) is not None:
        yield drawn.state  # of layers that draw without a seed of their own


def _captured(graph: tf.Graph) -> dict[int, tf.Tensor]:
    """The resources that a function's graph takes from outside, by id. An iterator that is an argument is none."""
    import tensorflow as tf

    pairs = getattr(graph, "captures", ())
    return {id(tensor): tensor for tensor, _ in pairs if tensor.dtype == tf.resource and hasattr(tensor, "numpy")}


def _handles(value: Any) -> Iterator[tf.Tensor]:
    """The handles of a variable: of a mirrored one, those of its copies, and the one that stands for all."""
    for part in getattr(value, "_values", None) or (value,):
        yield part.handle
    packed = getattr(value, "_packed_var", None)
    if packed is not None:
        yield packed.packed_handle


def _of_collectives() -> set[int]:
    """Ids of the handles of the variables by which TensorFlow keeps its collectives in order."""
    import tensorflow as tf

    found = set()
    extended = tf.distribute.get_strategy().extended
    for name in ("_cross_device_ops", "_host_cross_device_ops", "_inferred_cross_device_ops", "_collective_ops"):
        for launcher in getattr(getattr(extended, name, None), "_launchers", ()):
            found.add(id(launcher._ordering_token.handle))
    return found


def _owners(handles: Mapping[int, tf.Tensor]) -> Iterator[Any]:
    """The variables with these handles: Keras' own where there is one, else TensorFlow's."""
    import keras
    from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

    found = []
    for one in gc.get_objects():
        # Asking `isinstance` would wake lazily imported modules and the like.
        if issubclass(type(one), keras.Variable):
            if one._value is not None and any(id(handle) in handles for handle in _handles(one._value)):
                yield one
        elif issubclass(type(one), BaseResourceVariable) and id(one.handle) in handles:
            found.append(one)
    yield from found


def _described(model: keras.Model, owner: Any) -> str:
    kind = "keras.Variable" if hasattr(owner, "path") else "tf.Variable"
    name = re.sub(r"(/replica_\d+)?(:0)?$", "", owner.name)
    keepers = [*model._flatten_layers(), *optimizers(model)]
    for keeper in keepers:
        for attribute, value in vars(keeper).items():
            if not attribute.startswith("_") and _keeps(value, owner, 0):
                return f"the {kind} {name!r} in {type(keeper).__name__}.{attribute}"
    return f"the {kind} {name!r}"


def _keeps(value: Any, owner: Any, depth: int) -> bool:
    """Whether `value` is `owner`, or has it in a container or an attribute."""
    if value is owner or getattr(value, "handle", None) is getattr(owner, "handle", owner):
        return True
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts = vars(value).values()
    return depth < 3 and any(_keeps(part, owner, depth + 1) for part in list(parts))


def _writes_to_tables(graph: tf.Graph) -> bool:
    made = graph.as_graph_def(add_shapes=False)
    nodes = [*made.node, *(node for function in made.library.function for node in function.node_def)]
    return any(node.op in _TABLE_WRITES for node in nodes)
