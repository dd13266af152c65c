"""What a script passes to `fit`, as datasets: Keras' own adapters read it, so it means what it means in `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from jobs.scripts.errors import ScriptError
from jobs.scripts.python_data import Batches, Stream, from_python, rows
from jobs.scripts.shared_rows import Rows, all_rows, on_one_host

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


class Data(Protocol):
    """Training or validation data."""

    batch_size: int
    """Samples of a batch, as `fit` would make them."""
    samples_per_epoch: int | None
    """None if only reading all of it would tell."""

    def dataset(self, shift: int = 0) -> tf.data.Dataset:
        """A dataset of one epoch, or without an end; `shift` is added to the seed of its order."""

    def pass_over(self, epochs: int) -> None:
        """Leave what the script gave to `fit` as it is after so many epochs."""


def data_of(
    name: str,
    given: tuple[Any, Any, Any],
    *,
    batch_size: int | None,
    steps: int | None,
    shuffle: Any = False,
    class_weight: Mapping[int, float] | None = None,
    seed: int | None = None,
) -> Data:
    """The data that `given` (x, y, sample_weight) stands for. `name` is the argument's, for errors."""
    from keras.src.trainers.data_adapters import (
        array_data_adapter,
        get_data_adapter,
        is_tf_dataset,
        py_dataset_adapter,
    )

    x, y, weight = given
    if array_data_adapter.can_convert_arrays(given):
        size = batch_size or 0
        adapter = get_data_adapter(x, y, weight, size or None, steps, shuffle, class_weight)
        return Arrays(adapter, shuffle, seed, steps)
    if is_tf_dataset(x):
        import tensorflow as tf

        if not isinstance(x, tf.data.Dataset):
            raise ScriptError(f"{name} is a {type(x).__name__}: give fit the dataset itself, Regatta distributes it.")
        dataset = get_data_adapter(x, y, weight, class_weight=class_weight).get_tf_dataset()
        return Dataset(name, dataset, steps)
    if isinstance(x, py_dataset_adapter.PyDataset):
        get_data_adapter(x, y, weight, class_weight=class_weight)  # refuses y and weights beside it
        return Batches(name, x, steps, class_weight)
    adapter = get_data_adapter(x, y, weight, batch_size, steps, False, class_weight)
    return Stream(name, adapter, steps)


class Arrays:
    """Arrays, tensors, data frames, and lists and dicts of them. What is large is shared by a host's tasks."""

    def __init__(self, adapter: Any, shuffle: Any, seed: int | None, steps: int | None) -> None:
        self._adapter = adapter
        self._shuffle = shuffle
        self._seed = seed
        self.batch_size: int = min(adapter.batch_size, adapter._num_samples)
        samples: int = adapter._num_samples
        self.samples_per_epoch: int | None = steps * self.batch_size if steps else samples
        self._rows: Sequence[Rows | None] = all_rows(adapter._inputs)

    def dataset(self, shift: int = 0) -> tf.data.Dataset:
        import tensorflow as tf

        shares = any(self._rows) and (on_one_host() or not tf.inside_function())
        make = self._shared if shares else self._adapter.get_tf_dataset
        if not self._shuffle or self._seed is None:
            return make()
        with _shuffled_as(self._order(self._seed + shift)):
            return make()

    def pass_over(self, epochs: int) -> None:
        """Do nothing: `fit` does not change arrays."""

    def _shared(self) -> tf.data.Dataset:
        """As Keras' adapter: the numbers of each batch's samples, and then these."""
        import tensorflow as tf
        from keras.src import tree
        from keras.src.trainers.data_adapters.array_slicing import convert_to_sliceable

        structure = self._adapter._inputs
        rows = self._rows
        sources = [
            one.tensor() if one else tf.convert_to_tensor(convert_to_sliceable(leaf, target_backend="tensorflow"))
            for leaf, one in zip(tree.flatten(structure), rows, strict=True)
        ]

        def batch(numbers: tf.Tensor) -> Any:
            pairs = zip(rows, sources, strict=True)
            parts = [one.take(source, numbers) if one else tf.gather(source, numbers) for one, source in pairs]
            return tree.lists_to_tuples(tree.pack_sequence_as(structure, parts))

        numbers = self._numbers().get_tf_dataset()
        return numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _numbers(self) -> Any:
        """Keras' adapter for the numbers of the samples."""
        import numpy as np
        from keras.src.trainers.data_adapters import get_data_adapter

        numbers = np.arange(self._adapter._num_samples)
        return get_data_adapter(numbers, batch_size=self._adapter.batch_size, shuffle=self._shuffle)

    def _order(self, seed: int) -> np.ndarray[Any, Any]:
        """The order that `fit` has in every epoch once the global seed is set: it iterates afresh, from that seed."""
        import numpy as np
        import tensorflow as tf

        with tf.init_scope():
            tf.random.set_seed(seed)
            return np.concatenate(list(self._numbers().get_tf_dataset().as_numpy_iterator()))


@contextmanager
def _shuffled_as(order: np.ndarray[Any, Any]) -> Iterator[None]:
    """Inside, what Keras' adapter shuffles gets this order, whatever its own."""
    import tensorflow as tf

    shuffle = tf.random.shuffle
    tf.random.shuffle = lambda values: tf.gather(values, order) if values.shape == order.shape else shuffle(values)
    try:
        yield
    finally:
        tf.random.shuffle = shuffle


class Dataset:
    """A `tf.data.Dataset`, batched by the script."""

    def __init__(self, name: str, dataset: tf.data.Dataset, steps: int | None) -> None:
        import tensorflow as tf

        self._live = dataset
        self._graph = _serialized(dataset)
        self._has_steps = bool(steps)
        self._count = int(dataset.cardinality())  # now: in a graph it would capture the dataset
        specs = tf.nest.flatten(dataset.element_spec)
        sizes = {spec.shape[0] if spec.shape.rank != 0 else 0 for spec in specs if spec.shape.rank is not None}
        if 0 in sizes or len(sizes - {None}) > 1:
            raise ScriptError(f"{name} is a dataset that is not batched: end it with .batch(...).")
        static = specs[0].shape[0] if specs[0].shape.rank else None
        self.batch_size: int = static or rows(next(iter(self.dataset()), None), name)
        self.samples_per_epoch: int | None = None
        if steps:
            self.samples_per_epoch = steps * self.batch_size
        elif self._count == tf.data.INFINITE_CARDINALITY and name == "x":
            raise ScriptError("x is a dataset that never ends, so its epochs need steps_per_epoch=... in fit.")
        elif static and self._count > 0:
            self.samples_per_epoch = self._count * static

    def dataset(self, shift: int = 0) -> tf.data.Dataset:
        import tensorflow as tf
        from tensorflow.python.data.ops.dataset_ops import _VariantDataset

        if self._graph is None:
            if tf.inside_function():
                return from_python(self._live.element_spec, lambda: iter(self._live))
            return self._live
        with tf.init_scope():
            nothing = tf.constant(0)
        # With an input, or TensorFlow would make a constant of the dataset, which cannot be one.
        text = tf.strings.substr(self._graph, nothing, len(self._graph))
        variant = tf.raw_ops.DatasetFromGraph(graph_def=text)
        fresh = _VariantDataset(variant, self._live.element_spec)
        if self._count < 0:
            return fresh
        if not self._has_steps:
            # At the end of an epoch `fit` makes an iterator that it does not read, so that epochs have the first order
            # of a dataset that shuffles, the third, the fifth. So does this: a zip makes iterators of all its parts.
            unread = tf.data.Dataset.zip((tf.data.Dataset.range(0), fresh)).map(lambda _, element: element)
            fresh = fresh.concatenate(unread)
        return fresh.apply(tf.data.experimental.assert_cardinality(self._count))

    def pass_over(self, epochs: int) -> None:
        """Do nothing: a dataset's orders begin with the first one at every `fit` (docs/scripts.md)."""


def _serialized(dataset: tf.data.Dataset) -> bytes | None:
    """The dataset as a graph that any process can run; None if it needs this process' tables or Python."""
    import tensorflow as tf

    try:
        text: bytes = dataset._as_serialized_graph().numpy()
    except (tf.errors.OpError, ValueError):
        return None
    graph = tf.compat.v1.GraphDef.FromString(text)
    handle = tf.resource.as_datatype_enum
    shuffles = {name.removeprefix("^") for node in graph.node if node.op == "ShuffleDatasetV3" for name in node.input}
    for node in graph.node:
        if node.op == "Const" and _type(node) == handle and node.name in shuffles:
            # The generator of seeds that iterations share. With this in its place, there is a new one in each process.
            node.op = "DummySeedGenerator"
            node.attr.clear()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    bound = any("PyFunc" in node.op or _type(node) == handle for node in nodes)
    return None if bound else graph.SerializeToString()


def _type(node: Any) -> int | None:
    return node.attr["dtype"].type if "dtype" in node.attr else None  # looking it up would add it
