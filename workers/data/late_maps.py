"""Postpones a job's maps until each worker has its own batches, so that it maps only what it trains on.

Each worker of a job that does not shard its data reads the whole dataset and keeps every n-th batch. A map whose result
depends on its element alone may as well run afterwards: `source.map(f).shuffle(k).batch(b).map(g)` has the elements of
`source.shuffle(k).batch(b)`, in which the worker's batches are found without running f and g.

What is postponed is proven from the dataset, from its end backwards: maps without state, beside transformations that
look at no element's value. Whatever comes before the first other transformation is left as it is, and every worker
still reads it. A map of batches is postponed only if all batches have the size of the canonical stream's, and if
TensorFlow's shape inference finds that the map keeps their rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

    Finish = Callable[[tf.data.Dataset], tf.data.Dataset]

_MAPS = ("Map", "ParallelMap")
_BATCHES = ("Batch", "ParallelBatch")
_ORDER = ("Shuffle", "Take", "Skip", "Shard", "Repeat")
"""Transformations that choose and order elements, whatever these contain."""
_WITHOUT_EFFECT = ("Prefetch", "Options")
"""Options only at the end, where they hold for everything."""
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case")
"""Operations that are as stateful as the functions that they call, which are examined as well."""
_HARMLESS = (*_CALLS, "StatelessCase", "Assert")


@dataclass(frozen=True)
class LateMaps:
    """A dataset in two parts."""

    early: tf.data.Dataset
    """Its batches, of elements that are not mapped yet."""
    finish: Finish
    """Maps full batches of `early` to those of the dataset."""


def late_maps(dataset: tf.data.Dataset, size: int) -> LateMaps | None:
    """Part `dataset`, whose batches are to be cut to `size` samples; None if nothing in it can be postponed."""
    if dataset.options().deterministic is False:
        return None
    source, steps = _known(dataset)
    kinds = [_kind(step) for step in steps]
    first = next((n for n, kind in enumerate(kinds) if kind in _MAPS), None)
    if first is None or kinds[-2:] == ["Shuffle", "Options"]:  # which TensorFlow may fuse with the repeat after them
        return None
    cut = next((n for n, kind in enumerate(kinds) if kind in _BATCHES), None)
    batch = source if cut is None else steps[cut]
    groups = steps[first if cut is None else max(first, cut + 1) :]
    elements = steps[first:cut] if cut is not None and first < cut else []
    source = steps[first]._input_dataset
    if not _is_plain(source.element_spec, whole=bool(elements)):
        return None
    group_maps = [step for step in groups if _kind(step) in _MAPS]
    if group_maps:
        if not _has_full_batches(batch, size) or not all(_keeps_rows(step, size) for step in group_maps):
            return None
    elif not _is_plain(batch._input_dataset.element_spec, whole=True):
        return None
    early = _ordered(source, steps[first:])
    options = dataset.options()

    def finish(batches: tf.data.Dataset) -> tf.data.Dataset:
        if elements:
            mapped = _mapped(batches.unbatch(), elements)
            batches = mapped.batch(size, drop_remainder=True, **_parallel(batch))
        batches = _mapped(batches, groups)
        if group_maps:
            batches = batches.rebatch(size, drop_remainder=True)  # as they are, but their size is known to the graph
        return batches.with_options(options)

    return LateMaps(early, finish)


def _known(dataset: Any) -> tuple[Any, list[Any]]:
    """The last transformations of `dataset`, in order, as far back as all are understood; and the dataset before."""
    steps: list[Any] = []
    has_batch = False
    while (kind := _kind(dataset)) in (*_MAPS, *_BATCHES, *_ORDER, *_WITHOUT_EFFECT):
        if getattr(dataset, "_deterministic", "default") == "false":
            break
        if kind in _MAPS and not _is_pure(dataset._map_func.function):
            break
        if kind in _BATCHES:
            if has_batch:
                break
            has_batch = True
        if kind == "Options" and any(_kind(step) != "Options" for step in steps):
            break
        steps.insert(0, dataset)
        dataset = dataset._input_dataset
    return dataset, steps


def _kind(dataset: Any) -> str:
    return type(dataset).__name__.strip("_").removesuffix("Dataset")


def _is_pure(function: Any) -> bool:
    """Whether a map's function depends on its element alone: not on state, on other elements, or on chance."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    if any(tensor.dtype in (tf.resource, tf.variant) for tensor in function.captured_inputs):
        return False
    graph = function.graph.as_graph_def()
    nodes = chain(graph.node, *(inner.node_def for inner in graph.library.function))
    definitions = (op_def_registry.get(op) for op in {node.op for node in nodes} - set(_HARMLESS))
    return not any(definition is None or definition.is_stateful for definition in definitions)


def _is_plain(spec: Any, *, whole: bool) -> bool:
    """Whether elements consist of dense values, and if `whole` is wanted, of one shape each, so that they batch."""
    import tensorflow as tf

    parts = tf.nest.flatten(spec)
    dense = all(isinstance(part, tf.TensorSpec) and part.dtype not in (tf.resource, tf.variant) for part in parts)
    return dense and (not whole or all(part.shape.is_fully_defined() for part in parts))


def _has_full_batches(batch: Any, size: int) -> bool:
    """Whether the dataset `batch` cuts its input into batches of `size`, without a smaller one at the end."""
    import tensorflow as tf

    if _kind(batch) not in (*_BATCHES, "PaddedBatch") or tf.get_static_value(batch._batch_size) != size:
        return False
    if tf.get_static_value(batch._drop_remainder):
        return True
    samples = tf.get_static_value(batch._input_dataset.cardinality())
    if samples is None or _kind(batch) == "PaddedBatch":
        return False
    return bool(samples == tf.data.INFINITE_CARDINALITY or (samples > 0 and samples % size == 0))


def _keeps_rows(step: Any, size: int) -> bool:
    """Whether a map turns batches of `size` rows into such, by TensorFlow's shape inference on its function."""
    import tensorflow as tf

    function = step._map_func.function
    graph, own = function.graph, len(function.inputs) - len(function.captured_inputs)
    if any(tensor.shape.rank is None for tensor in graph.inputs[:own]):
        return False
    # The shapes that a job asserted by `set_shape` are not in the definition, so that they count for nothing here.
    with tf.Graph().as_default():
        given = {
            tensor.name: tf.compat.v1.placeholder(tensor.dtype, [size, *tensor.shape[1:]] if n < own else tensor.shape)
            for n, tensor in enumerate(graph.inputs)
        }
        results = [tensor.name for tensor in graph.outputs]
        found = tf.graph_util.import_graph_def(graph.as_graph_def(), given, results, name="")
    return all(output.shape.rank and output.shape[0] == size for output in found)


def _ordered(source: tf.data.Dataset, steps: Sequence[Any]) -> tf.data.Dataset:
    """Apply to `source` those of `steps` that choose, order and batch elements."""
    dataset: Any = source
    last, apart = "", False
    for step in steps:
        kind = _kind(step)
        if kind in (*_MAPS, *_WITHOUT_EFFECT):
            apart = True
            continue
        # TensorFlow fuses `shuffle` with a `repeat` right after it, which shuffles otherwise from the third epoch on.
        dataset = _applied(step, kind, dataset.prefetch(1) if apart and kind == "Repeat" else dataset)
        last, apart = kind, False
    return dataset.prefetch(1) if apart and last not in _BATCHES else dataset  # the epochs are repeated next


def _mapped(source: tf.data.Dataset, steps: Sequence[Any]) -> tf.data.Dataset:
    """Apply to `source` the maps among `steps`, and what is prefetched between them."""
    dataset: Any = source
    for step in steps:
        if (kind := _kind(step)) in (*_MAPS, "Prefetch"):
            dataset = _applied(step, kind, dataset)
    return dataset


def _applied(step: Any, kind: str, source: Any) -> Any:
    """The transformation `step`, of `source` instead of its own input; with the same function and the same seeds."""
    import tensorflow as tf
    from tensorflow.python.ops import gen_dataset_ops

    match kind:
        case "Take":
            return source.take(step._count)
        case "Skip":
            return source.skip(step._count)
        case "Repeat":
            return source.repeat(step._count)
        case "Shard":
            return source.shard(step._num_shards, step._index)
        case "Prefetch":
            return source.prefetch(int(tf.get_static_value(step._buffer_size) or tf.data.AUTOTUNE))
        case "Batch" | "ParallelBatch":
            return source.batch(step._batch_size, drop_remainder=step._drop_remainder, **_parallel(step))
    again = copy.copy(step)
    again._input_dataset = source
    common = again._common_args
    if kind == "Shuffle":
        again._variant_tensor_attr = gen_dataset_ops.shuffle_dataset_v3(
            source._variant_tensor,
            buffer_size=step._buffer_size,
            seed=step._seed,
            seed2=step._seed2,
            seed_generator=gen_dataset_ops.dummy_seed_generator(),
            reshuffle_each_iteration=step._reshuffle_each_iteration,
            **common,
        )
        return again
    common |= {
        "f": step._map_func.function,
        "use_inter_op_parallelism": step._use_inter_op_parallelism,
        "preserve_cardinality": step._preserve_cardinality,
    }
    inputs = source._variant_tensor, step._map_func.function.captured_inputs
    if kind == "Map":
        again._variant_tensor_attr = gen_dataset_ops.map_dataset(
            *inputs, force_synchronous=step._force_synchronous, **common
        )
    else:
        again._variant_tensor_attr = gen_dataset_ops.parallel_map_dataset_v2(
            *inputs,
            num_parallel_calls=step._num_parallel_calls,
            deterministic=step._deterministic,
            use_unbounded_threadpool=step._use_unbounded_threadpool,
            **common,
        )
    return again


def _parallel(batch: Any) -> dict[str, Any]:
    calls = getattr(batch, "_num_parallel_calls", None)
    return {} if calls is None else {"num_parallel_calls": calls}
