"""Which batches each worker has left, however many workers took however many before."""

from __future__ import annotations

import pytest

from workers.data.sharding import Batches, Make, share, whole
from workers.messages import Position, Taken

TOTAL = 120
POSITIONS: list[Position] = [
    (),
    (Taken(2, (3, 3)),),
    (Taken(2, (3, 5)),),
    (Taken(3, (7, 0, 4)),),
    (Taken(2, (3, 5)), Taken(3, (1, 4, 2))),
    (Taken(3, (2, 2, 2)), Taken(2, (6, 1)), Taken(4, (0, 3, 3, 1))),
]


def numbers(*, split: bool) -> Make:
    """Numbers in place of batches: shards of the job's own, or all of them."""
    import tensorflow as tf

    def make(workers: int, index: int) -> Batches:
        everything = tf.data.Dataset.range(TOTAL)
        return Batches(everything.shard(workers, index) if split else everything, split)

    return make


def left(position: Position) -> list[int]:
    """By the definition: every worker took the first of its share of what the workers before it had left."""
    stream = list(range(TOTAL))
    for group in position:
        taken = {n for index, count in enumerate(group.taken) for n in stream[index :: group.workers][:count]}
        stream = [n for n in stream if n not in taken]
    return stream


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_no_batch_is_repeated_or_lost(position: Position, split: bool) -> None:
    make = numbers(split=split)
    for workers in (1, 2, 3, 4) if not split or not position else (position[0].workers,):
        if position and position[-1].workers == workers:
            before, last = left(position[:-1]), position[-1]
            expected = [before[index::workers][last.taken[index] :] for index in range(workers)]
        else:
            expected = [left(position)[index::workers] for index in range(workers)]
        found = [
            [int(n) for n in share(make, workers, index, position).as_numpy_iterator()] for index in range(workers)
        ]
        assert found == expected


@pytest.mark.parametrize("position", POSITIONS)
def test_the_whole_is_what_all_have_left(position: Position) -> None:
    assert [int(n) for n in whole(numbers(split=False), 2, position).as_numpy_iterator()] == left(position)
