"""Proves that a copy of a model is made like the model: the same objects in the same places, with the same values.

Keras makes a copy from what `get_config` says, and that is what a class' author thought of. So both are walked side by
side, attribute by attribute. What the walk does not know makes them different.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jobs.scripts.reach import PLAIN, Reach

if TYPE_CHECKING:
    import keras

MADE_LATER = frozenset({
    "_auto_config", "_build_shapes_dict", "_called", "_compile_config", "_compiled_trainable_state",
    "_distribute_strategy", "_distributed_dataset", "_distribution_strategy",
    "_eval_epoch_iterator", "_inbound_nodes", "_initial_epoch",
    "_initial_seed", "_inputs", "_inputs_struct", "_lock", "_loss_ids", "_losses", "_losses_override", "_name",
    "_nodes", "_nodes_by_depth", "_obj_reference_counts_dict", "_operations_by_depth", "_outbound_nodes", "_outputs",
    "_outputs_struct", "_parent_path", "_path", "_saved_model_arg_spec", "_saved_model_inputs_spec",
    "_tracked", "_tracker", "_trainable_variables_indices", "build", "history", "name", "path", "predict_function",
    "quantize", "stop_evaluating", "stop_predicting", "stop_training", "test_function", "train_function",
})  # fmt: skip
"""What Keras keeps in objects that follows from the rest, numbers them, or is of a call before. How the layers of a
graph are connected is compared by its config."""
_BY_USER_ONLY = {
    "CompileLoss": ("_user_loss", "_user_loss_weights"),
    "CompileMetrics": ("_user_metrics", "_user_weighted_metrics"),
}
"""Of objects that are completed with the first batch, what was given to them."""
_TABLES = ("lookup_table", "token_counts", "token_document_counts")


class Different(ValueError):  # noqa: N818 - the name says what was found
    """The copy is not like the model; the message says where."""


class Alike:
    """The walk over a model and its copy."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._copies: dict[int, Any] = {}
        self._models: dict[int, Any] = {}
        """By the address of the one the other, of all objects that have been met; it also keeps them alive."""
        self._variables: list[keras.Variable] = []
        self._apart: set[int] = set()
        """Variables of metrics, which begin afresh in every step, and of optimizers beside the first."""
        self._todo: list[tuple[Any, Any, str]] = []
        self._kept: list[Any] = []
        """What was made for the walk: addresses are used again."""

    def check(self, model: keras.Model, copy: keras.Model) -> None:
        """Raise `Different` or `Unsuitable` unless `copy` is like `model`, and shares nothing with it that changes."""
        self._todo.append((model, copy, "model"))
        while self._todo:
            first, second, where = self._todo.pop()
            self._one(first, second, where)
        stored, of_copy = _stored(model), _stored(copy)
        same = len(stored) == len(of_copy)
        if not same or not all(self._copies.get(id(one)) is two for one, two in zip(stored, of_copy, strict=True)):
            raise Different("the order of the variables")
        found = {id(one) for one in stored} | self._apart
        for variable in self._variables:
            if id(variable) not in found:
                raise Different(f"{variable.path}, which Keras does not count among the variables of the model")

    def _one(self, first: Any, second: Any, where: str) -> None:
        import keras
        import numpy as np
        import tensorflow as tf

        if first is second:
            self._reach.value(first, where)
        elif type(first) is not type(second):
            raise Different(where)
        elif isinstance(first, (*PLAIN, inspect.Signature, tf.TensorShape, tf.TypeSpec, tf.DType)):
            if not (first == second or (first != first and second != second)):
                raise Different(where)
        elif isinstance(first, keras.Variable):
            if not self._is_known(first, second, where):
                self._variables.append(first)
            if (first.shape, first.dtype, first.trainable) != (second.shape, second.dtype, second.trainable):
                raise Different(where)
        elif isinstance(first, np.ndarray) or tf.is_tensor(first):
            _same_arrays(first, second, where)
        elif isinstance(first, (keras.Initializer, keras.DTypePolicy)):
            self._same_configs(first, second, where)
        elif self._is_known(first, second, where):
            return
        elif isinstance(first, Mapping):
            self._same_keys(dict(first), dict(second), where)
        elif isinstance(first, (list, tuple, deque)):
            if len(first) != len(second):
                raise Different(where)
            self._todo += [
                (one, other, f"{where}[{n}]") for n, (one, other) in enumerate(zip(first, second, strict=True))
            ]
        elif isinstance(first, (set, frozenset)):
            if first != second or not all(isinstance(one, PLAIN) for one in first):
                raise Different(where)
        elif isinstance(first, functools.partial):
            self._todo.append(
                ((first.func, first.args, first.keywords), (second.func, second.args, second.keywords), where)
            )
        elif isinstance(first, types.MethodType):
            self._todo.append(((first.__func__, first.__self__), (second.__func__, second.__self__), where))
        else:
            self._objects(first, second, where)

    def _is_known(self, first: Any, second: Any, where: str) -> bool:
        """Whether the two have been met as a pair; raises if either belongs to another one."""
        if id(first) in self._copies or id(second) in self._models:
            if self._copies.get(id(first)) is not second:
                raise Different(f"{where}, which is used in several places")
            return True
        self._copies[id(first)], self._models[id(second)] = second, first
        return False

    def _objects(self, first: Any, second: Any, where: str) -> None:
        import keras

        own = type(first).__module__
        if isinstance(first, type | types.FunctionType) or not (own.startswith("keras.") or self._reach.is_users(own)):
            raise Different(f"{where}, a {type(first).__name__}")
        self._reach.value(type(first), where)
        if isinstance(first, (keras.Metric, keras.optimizers.Optimizer)):
            self._apart |= {id(variable) for variable in first.variables}
        left: Iterable[str] = ()
        if isinstance(first, keras.Model) and hasattr(first, "_nodes_by_depth"):
            if not _is_graph(first):
                raise Different(f"{where}, whose class is not made from inputs and outputs")
            self._same_configs(first, second, where)
        elif isinstance(first, keras.Sequential):
            left = ("_functional",)  # which follows from its layers
        elif hasattr(first, "get_vocabulary") and hasattr(first, "lookup_table"):
            left = _TABLES
            if first.get_vocabulary() != second.get_vocabulary():
                raise Different(f"{where}.vocabulary")
        self._same_keys(_attributes(first, left), _attributes(second, left), where)

    def _same_configs(self, first: Any, second: Any, where: str) -> None:
        config, other = ({**one.get_config(), "name": None} for one in (first, second))  # which is numbered
        self._kept.append((config, other))
        self._todo.append((config, other, f"{where}.get_config()"))

    def _same_keys(self, first: Mapping[Any, Any], second: Mapping[Any, Any], where: str) -> None:
        if first.keys() != second.keys():
            raise Different(f"{where}.{next(iter(first.keys() ^ second.keys()))}")
        self._copies[id(first)], self._models[id(second)] = second, first
        self._todo += [(value, second[key], f"{where}.{key}") for key, value in first.items()]


def _attributes(thing: Any, left: Iterable[str]) -> dict[str, Any]:
    found = dict(vars(thing))
    only = _BY_USER_ONLY.get(type(thing).__name__)
    if only:
        return {name: found.get(name) for name in only}
    left_out = {*MADE_LATER, *left}
    return {name: value for name, value in found.items() if name not in left_out and not name.startswith("_self_")}


def _is_graph(model: keras.Model) -> bool:
    """Whether the config of `model` says how its layers are connected."""
    from keras.src.models.functional import functional_like_constructor

    return bool(functional_like_constructor(type(model)))


def _same_arrays(first: Any, second: Any, where: str) -> None:
    import numpy as np

    one, other = np.asarray(first), np.asarray(second)
    floating = one.dtype.kind in "fc"
    if one.dtype != other.dtype or not np.array_equal(one, other, equal_nan=floating):
        raise Different(where)


def _stored(model: keras.Model) -> list[keras.Variable]:
    """All variables of a model and its optimizer, in order."""
    optimizer = model.optimizer
    found = [*model.variables, *(optimizer.variables if optimizer is not None else ())]
    return list({id(one): one for one in found}.values())
