"""The rows of sparse gradients (`IndexedSlices`), as one process would have them on the joined batch.

Keras' Adam squares the rows of a sparse gradient one by one, so it matters whether a row that occurs twice is two rows
or their sum. A look-up of the batch's words gives a row for every occurrence, and the gathered rows of all replicas are
those of the joined batch. A look-up that reads each distinct word once (`tf.nn.embedding_lookup_sparse`), or positions
that do not depend on the batch (`Embedding` of a range), gives rows that one process would have added up.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from workers.errors import UnsupportedGradientError

if TYPE_CHECKING:
    import tensorflow as tf


class Rows(Enum):
    """What the indices of a replica's slices are."""

    OCCURRENCES = auto()
    """One for every occurrence in its batch; to be gathered."""
    DISTINCT = auto()
    """Distinct within its batch; to be gathered, and added up where replicas have the same."""
    CONSTANT = auto()
    """The same on every replica; only the values are to be added up."""


_SAME = ("Identity", "Reshape", "Cast", "ExpandDims", "Squeeze", "StopGradient", "EnsureShape", "PreventGradient")
_DISTINCT = ("Unique", "Range", "SparseSegment", "Where", "ListDiff")
"""Beginnings of the names of operations whose results are distinct."""
_HIDDEN = ("PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If", "StatelessIf", "Case")


def kind_of(indices: tf.Tensor) -> Rows:
    """Find out, by the graph that computes `indices`.

    Raises:
        UnsupportedGradientError: that cannot be seen, or differs between parts of them.
    """
    import tensorflow as tf

    tensor = indices
    while isinstance(tensor, tf.__internal__.SymbolicTensor):
        operation = tensor.op
        if operation.type in _SAME:
            tensor = operation.inputs[0]
        elif operation.type == "SelectV2":  # Keras replaces negative indices
            tensor = operation.inputs[2]
        elif operation.type in ("AddV2", "Sub") and operation.inputs[1].shape.rank == 0:
            tensor = operation.inputs[0]
        elif operation.type == "Placeholder" and (outer := _captured(tensor)) is not None:
            tensor = outer
        else:
            return _made_by(operation)
    return Rows.CONSTANT


def _made_by(operation: tf.Operation) -> Rows:
    if operation.type in ("ConcatV2", "Concat"):  # the table is looked up in several places
        found = {kind_of(part) for part in operation.inputs if part.shape.rank != 0}
        if len(found) == 1 and Rows.DISTINCT not in found:
            return found.pop()
        raise UnsupportedGradientError(
            f"the gradient {operation.name!r} is sparse and joins look-ups of one table, of which some read a row once "
            "per batch. Mode sync cannot tell which rows of several workers belong together. Give each look-up a table "
            "of its own, or look up the batch's words only."
        )
    if operation.type in _HIDDEN:
        raise UnsupportedGradientError(
            f"the gradient {operation.name!r} is sparse and comes out of a function or loop of its own "
            f"({operation.type}), where mode sync cannot see which rows of several workers belong together. Look the "
            "table up outside of any @tf.function, tf.cond and tf.while_loop, or by keras.layers.Embedding."
        )
    if operation.type == "Const":
        return Rows.CONSTANT
    return Rows.DISTINCT if operation.type.startswith(_DISTINCT) else Rows.OCCURRENCES


def _captured(placeholder: tf.Tensor) -> Any:
    """What a function's graph captured as `placeholder`; None if it is an argument of the function."""
    captures = getattr(placeholder.graph, "captures", ())
    return next((outer for outer, inner in captures if inner is placeholder), None)


def merged(slices: Any) -> Any:
    """The same gradient with each row once."""
    import tensorflow as tf

    rows, position = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, position, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, slices.dense_shape)
