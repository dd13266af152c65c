"""Cuts a dataset into batches of one size, also where the shapes of its batches vary."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from workers.errors import DIFFERENT_SHAPES, DataError

if TYPE_CHECKING:
    import tensorflow as tf

_TRANSPARENT = ("Repeat", "Prefetch", "Cache", "Shuffle", "Options", "Take", "Skip", "Shard", "AutoShard")
"""Transformations that leave batches as they are."""
_PEEKED = 8
"""Batches that are compared to see whether shapes vary, if the dataset does not say so."""


def full_batches(dataset: tf.data.Dataset, size: int, padding: Any = None) -> tf.data.Dataset:
    """Cut `dataset` into batches of exactly `size` samples, joining the rest of one epoch to the start of the next.

    Batches of `padded_batch` have the length of their longest sample. If two of them have to be joined, they are padded
    once more, with the values that the job gave to `padded_batch`: `padding`, or those of `dataset`.

    Raises:
        DataError: shapes vary, and how to pad them is not known.
    """
    varying = _varying(dataset.element_spec)
    if not varying or _is_cut_already(dataset, size):
        return dataset.rebatch(size, drop_remainder=True)
    padding = padding_of(dataset) if padding is None else padding
    if padding is not None:
        return dataset.unbatch().padded_batch(size, padding_values=padding, drop_remainder=True)
    _refuse_if_seen(dataset, varying)
    return _checked_when_joined(dataset, size, varying).rebatch(size, drop_remainder=True)


def _varying(spec: Any) -> list[int]:
    """Positions of the parts of an element that have an unknown dimension besides that of the batch."""
    import tensorflow as tf

    parts = enumerate(tf.nest.flatten(spec))
    return [n for n, part in parts if isinstance(part, tf.TensorSpec) and not part.shape[1:].is_fully_defined()]


def _is_cut_already(dataset: tf.data.Dataset, size: int) -> bool:
    """Whether batches are never joined, because each is a multiple of `size` (as with `drop_remainder=True`)."""
    import tensorflow as tf

    sizes = {part.shape[0] for part in tf.nest.flatten(dataset.element_spec)}
    return all(found is not None and found % size == 0 for found in sizes)


def padding_of(dataset: Any) -> Any:
    """What `padded_batch` filled these batches up with; None if another transformation made them."""
    while type(dataset).__name__.strip("_").removesuffix("Dataset") in _TRANSPARENT:
        (dataset,) = dataset._inputs()
    return getattr(dataset, "_padding_values", None)


def _refuse_if_seen(dataset: tf.data.Dataset, varying: list[int]) -> None:
    import tensorflow as tf

    if not tf.executing_eagerly():
        return  # checked before, when the first batch was read
    seen: dict[int, tuple[int, ...]] = {}
    for batch in islice(dataset, _PEEKED):
        for n in varying:
            shape = tuple(tf.nest.flatten(batch)[n].shape)
            if seen.setdefault(n, shape)[1:] != shape[1:]:
                advice = _ADVICE.format(f", such as {seen[n]} and {shape}")
                raise DataError(f"{_part(dataset.element_spec, n)} of train_dataset has {advice}")


def _checked_when_joined(dataset: tf.data.Dataset, size: int, varying: list[int]) -> tf.data.Dataset:
    """The dataset, which fails where two batches would have to be joined whose shapes differ.

    Shapes may vary for the first time after any number of batches; TensorFlow's own error then names no element.
    """
    import tensorflow as tf

    specs = tf.nest.flatten(dataset.element_spec)
    known = [n for n in varying if specs[n].shape.rank is not None]
    names = [_part(dataset.element_spec, n) for n in known]

    def check(state: Any, *parts: Any) -> Any:
        flat = tf.nest.flatten(parts)
        rest, shapes = state
        now = tuple(tf.shape(flat[n])[1:] for n in known)
        for name, before, shape in zip(names, shapes, now, strict=True):
            fits = tf.logical_or(tf.equal(rest, 0), tf.reduce_all(tf.equal(before, shape)))
            said = f"{name} of train_dataset has {_ADVICE.format('')}"
            with tf.control_dependencies([tf.debugging.Assert(fits, [said, before, shape])]):
                rest = tf.identity(rest)
        rest = tf.math.floormod(rest + tf.shape(flat[0])[0], size)
        return (rest, now), parts if len(parts) > 1 else parts[0]

    nothing = tuple(tf.zeros([specs[n].shape.rank - 1], tf.int32) for n in known)
    return dataset.scan((tf.constant(0), nothing), tf.autograph.experimental.do_not_convert(check))


_ADVICE = (
    f"{DIFFERENT_SHAPES}{{}}. The rest of an epoch is joined to the start of the next, and how "
    "to pad the two is not known. Let padded_batch be the last transformation, or give it drop_remainder=True, or pad "
    "to a fixed shape."
)


def _part(spec: Any, position: int) -> str:
    """Name a part of an element as Python would: `element[0]['tokens']`."""
    import tensorflow as tf

    path = list(tf.__internal__.nest.yield_flat_paths(spec))[position]
    return "element" + "".join(f"[{key!r}]" for key in path)
