"""A second model like a script's own, made in the scope of a mode's strategy without running the script again."""

from __future__ import annotations

import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from jobs.scripts.alike import MADE_LATER, Alike, Different
from jobs.scripts.execution import Execution
from jobs.scripts.made_with import Given, made_with
from jobs.scripts.reach import PLAIN, Reach, Unsuitable
from jobs.scripts.running import is_beside

if TYPE_CHECKING:
    import keras


_UNINITIALIZED = "uninitialized_variables"
"""Where Keras keeps variables that get their values when a graph of layers is complete."""


class NotCopied(Exception):  # noqa: N818 - the name says what happened
    """A model cannot be copied so that the copy is known to be like it; the message says why."""


def copied(model: keras.Model, execution: Execution) -> keras.Model:
    """A copy of `model`, which the script of `execution` has made. Values of variables are not copied.

    It is made as `load_model` would, but of the script's own classes and functions, and proved to be like the model.

    Raises:
        NotCopied: it is not, or cannot be made.
    """
    reach = Reach(lambda module: is_beside(module, execution.script))
    with _state_of(execution), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _Copier(reach) as copier:
                copy = copier.model(model)
            Alike(reach).check(model, copy)
        except (Different, Unsuitable) as found:
            raise NotCopied(str(found)) from None
        except Exception as error:  # noqa: BLE001 - classes of the script may raise anything
            words = " ".join(str(error).split())
            raise NotCopied(f"{type(error).__name__}: {words if len(words) < 300 else f'... {words[-300:]}'}") from None
    return copy


class _Handed:
    """Looks to Keras like a class, of which `value` is made."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def from_config(self, _: Any) -> Any:
        return self._value


class _Copier:
    """Makes copies with Keras' serialization, which it changes as a context manager: what belongs to the script itself
    is handed through it by name, functions as they are, and layers made again with what they were made with."""

    def __init__(self, reach: Reach) -> None:
        self._is_users = reach.is_users
        self._names: dict[int, str] = {}
        self._handed: dict[str, Any] = {}
        self._restore = ExitStack()

    def __enter__(self) -> _Copier:
        import keras
        from keras.src.saving import serialization_lib

        self._serialize: Callable[[Any], Any] = serialization_lib.serialize_keras_object
        self._replace(serialization_lib, "serialize_keras_object", self._serialized)
        self._replace(
            keras.layers.Lambda, "_serialize_function_to_config", lambda _, function: self._serialized(function)
        )
        self._restore.enter_context(serialization_lib.ObjectSharingScope())
        return self

    def __exit__(self, *_: object) -> None:
        import keras

        self._restore.close()
        for name in self._handed:
            keras.saving.get_custom_objects().pop(name, None)

    def _replace(self, holder: Any, name: str, value: Any) -> None:
        self._restore.callback(setattr, holder, name, getattr(holder, name))
        setattr(holder, name, value)

    def model(self, model: keras.Model) -> keras.Model:
        import keras

        copy = self.again(model)
        if type(copy) is not type(model):
            raise Different("its class")
        if not copy.compiled or type(model).compile is not keras.Model.compile:
            keras.Model.compile(copy, **self.again(model._compile_config.config))
        optimizer = model.optimizer
        if optimizer is not None and copy.optimizer.built and not optimizer.built:
            copy.optimizer = type(optimizer).from_config(optimizer.get_config())
        elif optimizer is not None and optimizer.built and not copy.optimizer.built:
            copy.optimizer.build(copy.trainable_variables)
        self._complete(model, copy)
        return copy

    def again(self, value: Any) -> Any:
        """A copy of what has a state; what has none, or is not known, itself."""
        import keras
        from keras.src.saving import serialization_lib

        if type(value) in (list, tuple):
            return type(value)(map(self.again, value))
        if type(value) is dict:
            return {key: self.again(one) for key, one in value.items()}
        kinds = keras.Layer, keras.Metric, keras.optimizers.Optimizer, keras.Loss, keras.random.SeedGenerator
        if not isinstance(value, kinds):
            return value
        return serialization_lib.deserialize_keras_object(self._serialized(value), safe_mode=False)

    def _serialized(self, thing: Any) -> Any:
        own = isinstance(thing, types.FunctionType) and self._is_users(thing.__module__ or "")
        if id(thing) not in self._names:
            if own:
                self._hand(thing, thing)
            elif (given := self._given(thing)) is not None:
                self._hand(thing, self._made_again(thing, given))
            else:
                if self._is_users(type(thing).__module__):
                    self._known(type(thing).__name__, type(thing))
                return self._serialize(thing)
        name = self._names[id(thing)]
        named = {"class_name": name, "config": {}, "module": __name__, "registered_name": name}
        return {**named, "config": named}  # of a function that is an activation, Keras keeps what is in `config` only

    def _given(self, thing: Any) -> Given | None:
        """What an object of a class of the script was made with, unless it is a graph, which is its config."""
        import keras
        from keras.src.models.functional import functional_like_constructor

        if not isinstance(thing, (keras.Operation, keras.Metric, keras.Loss)) or not self._is_users(
            type(thing).__module__
        ):
            return None
        return None if functional_like_constructor(type(thing)) else made_with(thing)

    def _made_again(self, thing: Any, given: Given) -> Any:
        arguments, options = self.again(given.arguments), self.again(dict(given.options))
        with given.named_alike():
            copy = type(thing)(*arguments, **options)
        if getattr(thing, "built", False) and not copy.built and (shapes := thing.get_build_config()):
            copy.build_from_config(shapes)
        return copy

    def _hand(self, thing: Any, copy: Any) -> None:
        name = self._names[id(thing)] = f"regatta_{len(self._names)}"
        self._known(name, _Handed(copy))
        self._handed[f"{name} of"] = thing  # kept: addresses are used again

    def _known(self, name: str, value: Any) -> None:
        import keras

        if name not in keras.saving.get_custom_objects():
            keras.saving.get_custom_objects()[name] = self._handed[name] = value

    def _complete(self, model: keras.Model, copy: keras.Model) -> None:
        """Give the layers of `copy` what those of `model` have got after they were made."""
        import keras
        import tensorflow as tf

        remade = keras.optimizers.Optimizer, keras.Metric, keras.Loss
        ours, others = list(model._flatten_layers()), list(copy._flatten_layers())
        if len(ours) != len(others):
            raise Different("the number of layers")
        layers = list(zip(ours, others, strict=True))
        for layer, other in layers:
            other.trainable = layer._trainable  # and that of the layers in it, which come later
        for layer, other in layers:
            if hasattr(layer, "lookup_table") and "ParameterServer" in type(tf.distribute.get_strategy()).__name__:
                raise Different(f"{layer.name}, whose table would be on a parameter server")  # never tried
            for name in [name for name in vars(layer) if name not in vars(other) and name not in MADE_LATER]:
                value = getattr(layer, name)
                if isinstance(value, (*remade, *PLAIN, types.FunctionType)):
                    setattr(other, name, self.again(value))
            if hasattr(layer, "adapt"):
                _hand_on(layer, other)


def _hand_on(layer: keras.Layer, other: keras.Layer) -> None:
    """Give `other` what `layer` has learnt by `adapt`."""
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            other.load_assets(folder)
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    other.load_own_variables(store)


@contextmanager
def _state_of(execution: Execution) -> Iterator[None]:
    """Have the script's module as the main one, where its classes are found, and the dtype policy that it has set."""
    import keras
    from keras.src.backend.common import global_state

    before, policy = sys.modules["__main__"], keras.config.dtype_policy()
    waiting = list(global_state.get_global_attribute(_UNINITIALIZED) or [])
    if execution.module is not None:
        sys.modules["__main__"] = execution.module
    if execution.dtype_policy is not None:
        keras.config.set_dtype_policy(execution.dtype_policy)
    try:
        yield
    finally:
        sys.modules["__main__"] = before
        global_state.set_global_attribute(_UNINITIALIZED, waiting)  # without those of a copy that failed
        keras.config.set_dtype_policy(policy)
