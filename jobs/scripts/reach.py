"""Finds out whether something may be used by two models: whether it leads to what one of them changes.

A function of a script may use a layer, a metric or a table that is a global variable of the script, and a second model
would then use the first one's.
"""

from __future__ import annotations

import argparse
import dis
import enum
import functools
import pathlib
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PLAIN = (bool, int, float, complex, str, bytes, type(None), enum.Enum, range, slice, type(...), pathlib.PurePath)
"""Types of values that never change."""

_OF_CLASSES = ("__annotations__", "__dict__", "__orig_bases__", "__parameters__", "__weakref__", "_abc_impl")
"""Attributes of classes that no method uses."""


class Unsuitable(ValueError):  # noqa: N818 - the name says what was found
    """It leads to something that a second model must not share; the message says what."""


class Reach:
    """Looks through values, functions and classes of a script."""

    def __init__(self, is_users: Callable[[str], bool]) -> None:
        """`is_users`: whether a module, by name, is the script or lies beside it."""
        self.is_users = is_users
        self._seen: dict[int, Any] = {}

    def value(self, value: Any, where: str) -> None:
        """Raise `Unsuitable` if `value` leads to something that changes."""
        todo = [(value, where)]
        while todo:
            one, place = todo.pop()
            if isinstance(one, PLAIN) or id(one) in self._seen:
                continue
            self._seen[id(one)] = one
            todo += [(inner, f"{place}: {name}" if name else place) for name, inner in self._within(one, place)]

    def _within(self, one: Any, where: str) -> Iterator[tuple[str, Any]]:
        """What `one` leads to, by name."""
        if isinstance(one, types.FunctionType):
            yield from self._of_function(one, where)
        elif isinstance(one, type):
            if self.is_users(one.__module__):
                yield from (("", base) for base in one.__bases__)
                yield from (("", inner) for name, inner in vars(one).items() if name not in _OF_CLASSES)
        elif isinstance(one, types.MethodType):
            yield from (("", one.__func__), ("", one.__self__))
        elif isinstance(one, property):
            yield from (("", function) for function in (one.fget, one.fset, one.fdel))
        elif isinstance(one, staticmethod | classmethod):
            yield "", one.__func__
        elif isinstance(one, functools.partial):
            yield from (("", inner) for inner in (one.func, one.args, one.keywords))
        elif isinstance(one, Mapping):
            yield from (("", inner) for inner in one.values())
        elif isinstance(one, (list, tuple, set, frozenset, deque)):
            yield from (("", inner) for inner in one)
        elif hasattr(one, "python_function"):  # a tf.function
            yield "", one.python_function
        elif isinstance(one, argparse.Namespace | types.SimpleNamespace) or _is_made_of_values(one):
            yield "", type(one)
            yield from vars(one).items()
        elif not _is_constant(one):
            if not self.is_users(type(one).__module__) or _has_state(one):
                raise Unsuitable(f"{where} is a {type(one).__name__} that both would use")
            yield "", type(one)
            yield from vars(one).items()

    def _of_function(self, function: types.FunctionType, where: str) -> Iterator[tuple[str, Any]]:
        if not self.is_users(function.__module__ or ""):
            return
        yield "", function.__defaults__
        yield "", function.__kwdefaults__
        yield "", getattr(function, "__wrapped__", None)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        for operation, name in _globals_of(function.__code__):
            if operation != "LOAD_GLOBAL":
                raise Unsuitable(f"{where}: {function.__name__} sets the global variable {name}")
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _globals_of(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """The operations of `code` on global variables, and these variables."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"):
            yield instruction.opname, str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)


def _is_constant(one: Any) -> bool:
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.ops import EagerTensor

    unchanging = (np.ndarray, np.generic, np.dtype, EagerTensor, tf.DType, tf.TensorShape, tf.TypeSpec)
    built_in = (types.ModuleType, types.BuiltinFunctionType, types.GetSetDescriptorType, types.MemberDescriptorType)
    return isinstance(one, (*unchanging, *built_in, np.ufunc, type(len), type(str.join), types.WrapperDescriptorType))


def _is_made_of_values(one: Any) -> bool:
    """Whether an object of Keras has no variables, only what it was made with."""
    import keras

    kinds = [keras.Loss, keras.Regularizer, keras.Initializer, keras.DTypePolicy]
    return isinstance(one, (*kinds, keras.constraints.Constraint, keras.optimizers.schedules.LearningRateSchedule))


def _has_state(one: Any) -> bool:
    import keras
    import tensorflow as tf

    kinds = keras.Layer, keras.Metric, keras.optimizers.Optimizer, keras.Variable, keras.random.SeedGenerator
    return isinstance(one, (*kinds, tf.Module, tf.Variable, tf.data.Dataset))
