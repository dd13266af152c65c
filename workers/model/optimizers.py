"""A model's optimizers: the compiled one, and those that a custom `train_step` uses besides (as GANs do)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def optimizers(model: keras.Model) -> list[keras.Optimizer]:
    """The compiled optimizer, then all others that are attributes of the model, in the order they were set."""
    import keras

    others = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    return list({id(found): found for found in (model.optimizer, *others)}.values())


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
        def apply(_: Any, trainable_variables: Any = None) -> None:
            given[id(optimizer)] = list(trainable_variables or ())

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
        step.get_concrete_function(batch)
    finally:
        for optimizer in found:
            del optimizer.apply  # uncovers the class' own
    return given
