"""A model's optimizers: the compiled one, and those that a custom `train_step` uses besides (as GANs do)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from workers.model.optimizer_guard import only

if TYPE_CHECKING:
    import keras

_OPAQUE = ("builtins", "numpy", "tensorflow", "keras.src", "threading")
"""Packages whose objects hold no optimizer of the user's; layers are searched nevertheless."""

_KNOWN = "_regatta_optimizers"
"""Attribute of a model: what was found. Searching takes 30 ms for a ResNet50, and callbacks may ask at every batch."""


def optimizers(model: keras.Model) -> list[keras.Optimizer]:
    """The compiled optimizer, then all others that the model holds, in the order they were set.

    It may hold them in attributes, containers, sub-models, other optimizers and objects of the user's own, nested as
    they like.
    """
    known: tuple[keras.Optimizer, ...] = vars(model).get(_KNOWN, ())
    if not known or known[0] is not model.optimizer:
        seen: set[int] = set()
        found = (*_held_by(model.optimizer, seen), *_held_by(model, seen))
        known = tuple({id(optimizer): optimizer for optimizer in found}.values())
        vars(model)[_KNOWN] = known
    return list(known)


def _held_by(value: Any, seen: set[int]) -> Iterator[keras.Optimizer]:
    import keras

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, keras.optimizers.Optimizer):
        yield value
        inner = innermost(value)  # whose variables are among those of a wrapper of Keras' own
        seen.add(id(inner))
        parts = [*vars(value).values(), *vars(inner).values()]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple, deque)):
        parts = list(value)
    elif isinstance(value, (set, frozenset)):  # without an order that another process would have, too
        parts = sorted(
            (part for part in value if isinstance(part, keras.optimizers.Optimizer)), key=lambda part: str(part.name)
        )
    elif isinstance(value, keras.layers.Layer) or not type(value).__module__.startswith(_OPAQUE):
        slots = (name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ()))
        parts = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]
    else:
        return
    for part in parts:
        if not isinstance(part, (str, bytes, int, float, type, type(None))):
            yield from _held_by(part, seen)


def iterations(optimizer: keras.Optimizer) -> keras.Variable:
    """The counter that learning-rate schedules and bias corrections read."""
    return innermost(optimizer)._iterations


def innermost(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The optimizer that updates variables, inside any wrapping optimizer (loss scaling)."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def build_optimizers(model: keras.Model, batch: Any) -> None:
    """Create the variables of all optimizers. Keras would do so in the first step, which is too late here.

    Only the model's own step knows which variables a further optimizer updates. It is traced once, while each optimizer
    records what it is given instead of applying it.
    """
    vars(model).pop(_KNOWN, None)  # building the model may have added some
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    waiting = [optimizer for optimizer in optimizers(model) if not optimizer.built]
    if not waiting:
        return
    given = _variables_of_each(model, batch)
    for optimizer in waiting:
        if id(optimizer) in given:
            optimizer.build(given[id(optimizer)])


def _variables_of_each(model: keras.Model, batch: Any) -> dict[int, list[keras.Variable]]:
    """The variables that one step of the model updates with each optimizer, by the optimizer's id."""
    import tensorflow as tf

    from workers.model.scope import step_scope

    given: dict[int, list[keras.Variable]] = {}

    def recording(optimizer: keras.Optimizer) -> Any:
        holds_another = sum(1 for _ in _held_by(optimizer, set())) > 1

        def apply(gradients: Any, trainable_variables: Any = None) -> None:
            given[id(optimizer)] = list(trainable_variables or ())
            if holds_another and optimizer.built:
                type(optimizer).apply(optimizer, gradients, trainable_variables)

        return apply

    strategy = tf.distribute.get_strategy()

    def take(data: Any) -> None:
        with step_scope([(v, tf.zeros(v.shape, v.dtype)) for v in model.metrics_variables]):
            model.train_step(data)

    @tf.function(autograph=False)
    def step(data: Any) -> None:
        if strategy.num_replicas_in_sync > 1:  # gradients are taken within replicas only
            strategy.run(take, args=(data,))
        else:
            take(data)

    found = optimizers(model)
    for optimizer in found:
        optimizer.apply = recording(optimizer)
    try:
        with only(found, model):
            step.get_concrete_function(batch)
    finally:
        for optimizer in found:
            del optimizer.apply  # uncovers the class' own
    return given
