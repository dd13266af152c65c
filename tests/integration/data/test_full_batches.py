"""Batches whose shapes vary are joined with the job's own padding, or refused with a remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workers.data.full_batches import full_batches
from workers.errors import DataError


def rows(count: int) -> Any:
    """Row n has n % 5 + 1 elements, and all are n."""
    import tensorflow as tf

    return tf.data.Dataset.range(1, count + 1).map(lambda n: (tf.fill([n % 5 + 1], n), n))


def joined(dataset: Any, size: int = 8, batches: int = 4) -> list[Any]:
    return list(full_batches(dataset, size).take(batches).as_numpy_iterator())


@pytest.mark.parametrize("after", ["repeat", "prefetch", "cache", "shuffle", "shard"])
def test_an_epochs_rest_is_padded_as_the_job_pads(after: str) -> None:
    padded = rows(21).padded_batch(8, padding_values=(np.int64(-1), np.int64(0)))
    given = {"repeat": (), "prefetch": (2,), "cache": (), "shuffle": (1,), "shard": (1, 0)}[after]
    for x, y in joined(getattr(padded.repeat(), after)(*given)):
        assert x.shape == (8, 5)
        for row, n in zip(x.tolist(), y.tolist(), strict=True):
            assert row == [n] * (n % 5 + 1) + [-1] * (4 - n % 5)


def test_no_sample_is_lost() -> None:
    numbers = [n for _, y in joined(rows(21).padded_batch(8).repeat(), batches=21) for n in y.tolist()]
    assert sorted(numbers) == sorted([*range(1, 22)] * 8)


@pytest.mark.parametrize("size", [8, 4])
def test_batches_that_need_no_joining_are_left_as_they_are(size: int) -> None:
    dataset = rows(40).padded_batch(8, drop_remainder=True).map(lambda x, y: (x * 2, y))
    assert [len(y) for _, y in joined(dataset, size)] == [size] * 4


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        (lambda x, y: (x, y), "element[0]"),
        (lambda x, y: ({"words": x, "n": y}, y), "element[0]['words']"),
        (lambda x, _: x, "element"),
    ],
)
def test_others_are_refused_by_the_name_of_the_element(structure: Any, name: str) -> None:
    import tensorflow as tf

    lengths = rows(40).bucket_by_sequence_length(lambda x, _: tf.shape(x)[0], [2, 4], [8, 8, 8])
    with pytest.raises(DataError) as caught:
        joined(lengths.map(structure))
    assert str(caught.value).startswith(f"{name} of train_dataset has batches of different shapes")
    assert "drop_remainder=True" in str(caught.value)


def test_ragged_batches_are_joined_as_they_are() -> None:
    first = joined(rows(21).ragged_batch(8).repeat(), batches=3)[2][0]
    assert [len(row) for row in first] == [3, 4, 5, 1, 2, 2, 3, 4]


def test_unknown_shapes_that_do_not_vary_are_joined() -> None:
    import tensorflow as tf

    def read(n: Any) -> Any:
        return tf.numpy_function(lambda n: np.repeat(n, 3), [n], tf.int64)

    dataset = tf.data.Dataset.range(12).map(read).map(lambda x: tf.ensure_shape(x, [None])).batch(8).repeat()
    assert [batch.shape for batch in joined(dataset)] == [(8, 3)] * 4
