"""Which rows of a sparse gradient belong together, by the graph that computes their indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workers.errors import UnsupportedGradientError
from workers.modes.sparse_rows import Rows, kind_of, merged

IDS = np.array([3, 1, 3, 2], np.int32)


def gathered(tf: Any, table: Any, ids: Any) -> Any:
    return tf.gather(table, ids)


def once(tf: Any, table: Any, ids: Any) -> Any:
    rows, position = tf.unique(ids)
    return tf.gather(tf.gather(table, rows), position)


def cast(tf: Any, table: Any, ids: Any) -> Any:
    rows, _ = tf.unique(ids)
    return tf.gather(table, tf.cast(tf.expand_dims(rows, 0), tf.int64) + 1)


def averaged(tf: Any, table: Any, ids: Any) -> Any:
    return tf.nn.embedding_lookup_sparse(table, tf.sparse.from_dense(ids[None]), None, combiner="mean")


def positions(tf: Any, table: Any, ids: Any) -> Any:
    return tf.gather(table, tf.range(tf.shape(ids)[0]) + 1)


KEPT: list[Any] = []


def kept(tf: Any, table: Any, ids: Any) -> Any:
    """Made once, before the step."""
    with tf.init_scope():
        KEPT[:] = [tf.constant([0, 0, 1])]
    return tf.gather(table, KEPT[0])


def twice(tf: Any, table: Any, ids: Any) -> Any:
    return tf.gather(table, ids) + tf.gather(table, ids[::-1])


def hashed(tf: Any, table: Any, ids: Any) -> Any:
    """Distinct words may share a row."""
    rows, position = tf.unique(ids)
    return tf.gather(tf.gather(table, rows % 2), position)


def both(tf: Any, table: Any, ids: Any) -> Any:
    return tf.reduce_sum(once(tf, table, ids)) + tf.reduce_sum(gathered(tf, table, ids))


def hidden(tf: Any, table: Any, ids: Any) -> Any:
    return tf.function(lambda: tf.gather(table, ids))()


def traced(look_up: Any) -> Any:
    import tensorflow as tf

    table = tf.Variable(tf.ones((5, 2)))
    found = []

    @tf.function(autograph=False)
    def step(ids: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(look_up(tf, table, ids))
        found.append(kind_of(tape.gradient(loss, table).indices))

    step(tf.constant(IDS))
    return found[0]


@pytest.mark.parametrize(
    ("look_up", "kind"),
    [
        (gathered, Rows.OCCURRENCES),
        (twice, Rows.OCCURRENCES),
        (hashed, Rows.OCCURRENCES),
        (once, Rows.DISTINCT),
        (cast, Rows.DISTINCT),
        (averaged, Rows.DISTINCT),
        (positions, Rows.DISTINCT),
        (kept, Rows.CONSTANT),
    ],
)
def test_the_graph_tells_how_rows_were_looked_up(look_up: Any, kind: Rows) -> None:
    assert traced(look_up) is kind


@pytest.mark.parametrize(("look_up", "words"), [(both, "table of its own"), (hidden, "outside of any @tf.function")])
def test_what_cannot_be_seen_is_refused_with_a_remedy(look_up: Any, words: str) -> None:
    with pytest.raises(UnsupportedGradientError, match=words):
        traced(look_up)


def test_merging_keeps_the_dense_gradient() -> None:
    import tensorflow as tf

    slices = tf.IndexedSlices(tf.random.normal((4, 2)), tf.constant(IDS), tf.constant([5, 2]))
    once = merged(slices)
    assert sorted(once.indices.numpy()) == [1, 2, 3]
    np.testing.assert_allclose(tf.convert_to_tensor(once), tf.convert_to_tensor(slices), rtol=1e-6)
