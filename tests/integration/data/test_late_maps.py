"""Maps that a worker runs on its own batches only: the samples, their order and their bytes stay as they are."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from tests.integration.data.pipelines import AS_THEY_ARE, BATCH, POSTPONED, Pipeline, numbers, worked
from tests.made import settings
from workers.data import stream
from workers.data.late_maps import late_maps
from workers.data.stream import training_stream
from workers.messages import Position, Taken

BATCHES = 40
"""Compared in each case: several epochs."""
QUICK = ("arrays", "map before the shuffle", "map of batches that fill an epoch", "maps on both sides", "images")


class Given:
    """A job with a dataset."""

    class_weight = None

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def train_dataset(self, _: DataContext) -> Any:
        return self._pipeline()


def batches(pipeline: Pipeline, *, graph: bool, **place: Any) -> list[list[bytes]]:
    """What a worker trains on; in a graph as on asynchronous workers, or not."""
    import tensorflow as tf

    def make() -> Any:
        return training_stream(Given(pipeline), settings(batch_size=BATCH), seed=7, **place)  # type: ignore[arg-type]

    dataset = tf.function(make)() if graph else make()
    found = [tf.nest.flatten(batch) for batch in islice(dataset, BATCHES)]
    assert len(found) == BATCHES
    return [[np.asarray(part).tobytes() for part in batch] for batch in found]


def early(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, **place: Any) -> list[list[bytes]]:
    """The same without late maps."""
    with monkeypatch.context() as patch:
        patch.setattr(stream, "late_maps", lambda *_: None)
        return batches(pipeline, **place)


PLACES: list[dict[str, Any]] = [
    {"num_shards": 2, "shard_index": 1},
    {"num_shards": 3, "shard_index": 0, "position": (Taken(3, (5, 5, 5)),)},
    {"num_shards": 3, "shard_index": 2, "position": (Taken(2, (3, 5)), Taken(3, (1, 4, 2)))},
    {"num_shards": 2, "shard_index": 0, "position": (Taken(1, (4,)),)},
    {"num_shards": 2, "shard_index": 1, "shares": (3, 5)},
]
ALL_PLACES = [pytest.param(place, marks=[pytest.mark.slow] if n > 1 else []) for n, place in enumerate(PLACES)]


@pytest.mark.parametrize("place", ALL_PLACES)
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in POSTPONED]
)
def test_a_worker_trains_on_the_same_batches(
    name: str, graph: bool, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = POSTPONED[name]
    assert late_maps(pipeline(), BATCH) is not None
    if name == "padded":
        place = {**place, "shares": ()}  # parts of padded batches are refused, with late maps or without
    assert batches(pipeline, graph=graph, **place) == early(monkeypatch, pipeline, graph=graph, **place)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_cannot_be_proven_is_left_as_it_is(name: str) -> None:
    assert late_maps(AS_THEY_ARE[name](), BATCH) is None


@pytest.mark.parametrize("of", ["map", "options"])
def test_an_order_that_is_not_kept_is_not_touched(of: str) -> None:
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = False
    dataset = numbers().map(worked, num_parallel_calls=2, deterministic=False if of == "map" else None).batch(BATCH)
    assert late_maps(dataset if of == "map" else dataset.with_options(options), BATCH) is None


@pytest.mark.parametrize(
    ("of_batches", "sharding", "share"), [(False, "auto", 0.5), (True, "data", 0.5), (True, "off", 1)]
)
def test_a_worker_maps_its_own_samples_only(of_batches: bool, sharding: str, share: float) -> None:
    import tensorflow as tf

    seen: list[int] = []

    def look(ids: Any) -> Any:
        seen.extend(np.ravel(ids).tolist())
        return ids

    def call(ids: Any) -> Any:
        return tf.reshape(tf.numpy_function(look, [ids], tf.int64, stateful=False), tf.shape(ids))

    def pipeline() -> Any:
        ids = tf.data.Dataset.range(200)
        return ids.batch(BATCH).map(call) if of_batches else ids.map(call).batch(BATCH)

    made = settings(batch_size=BATCH, sharding=sharding, prefetch=False)
    stream_of_one = training_stream(Given(pipeline), made, seed=0, num_shards=2, shard_index=1)  # type: ignore[arg-type]
    found = np.concatenate([batch.numpy() for batch in islice(stream_of_one, int(50 * share))])
    own = [n for n in range(200) if share == 1 or n // BATCH % 2]
    assert found.tolist() == own
    assert seen[: len(own)] == own
    assert set(seen) == set(own)  # TensorFlow may have read ahead, into the next epoch


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    names = [tmp_path / f"{n}.txt" for n in range(3)]
    for n, name in enumerate(names):
        name.write_text("\n".join(str(10 * n + line) for line in range(7)))

    def pipeline() -> Any:
        lines = tf.data.TextLineDataset([str(name) for name in names])
        return lines.map(lambda line: tf.strings.to_number(line, tf.int32)).shuffle(8, seed=2).batch(BATCH)

    place: dict[str, Any] = {"graph": False, "num_shards": 2, "shard_index": 1}
    assert late_maps(pipeline(), BATCH) is not None
    assert batches(pipeline, **place) == early(monkeypatch, pipeline, **place)


def test_a_position_may_be_reached_without_mapping_what_is_skipped() -> None:
    import tensorflow as tf

    seen: list[int] = []

    def look(number: Any) -> Any:
        seen.append(int(number))
        return number

    def pipeline() -> Any:
        ids = tf.data.Dataset.range(40)
        return (
            ids.map(lambda n: tf.numpy_function(look, [n], tf.int64, stateful=False))
            .map(lambda n: tf.reshape(n, []))
            .batch(BATCH)
        )

    position: Position = (Taken(2, (3, 3)),)
    made = settings(batch_size=BATCH, prefetch=False)
    own = training_stream(Given(pipeline), made, seed=0, num_shards=2, shard_index=0, position=position)  # type: ignore[arg-type]
    assert next(iter(own)).numpy().tolist() == [24, 25, 26, 27]
    assert seen[:BATCH] == [24, 25, 26, 27]
    assert set(seen) <= {n for n in range(24, 40) if n // BATCH % 2 == 0}  # TensorFlow may have read ahead
