"""Loaders that end in TensorFlow, on small files in exactly the format that is published."""

import gzip
import io
import pickle
import re
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.data import arrays, folders, generator, keras_sets, tfrecord
from jobs.data.errors import DataFileError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache folder, no network, and small files accepted for the published ones."""
    from keras.src.backend import config
    from keras.src.utils import file_utils

    def no_network(*_: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    monkeypatch.setattr(file_utils, "validate_file", lambda *_, **__: True)
    for name, source in keras_sets.SOURCES.items():
        monkeypatch.setitem(keras_sets.SOURCES, name, source._replace(sha256={}))
    keras_sets.load.cache_clear()
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def _images(count: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.arange(count * np.prod(shape), dtype=np.uint32).astype(np.uint8).reshape(count, *shape)


def test_mnist(cache: Path) -> None:
    x, y = _images(6, 28, 28), np.arange(6, dtype=np.uint8)
    np.savez(cache / "mnist.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
    data = keras_sets.load("mnist")
    assert np.array_equal(data.x_train[..., 0], x[:4])
    assert np.array_equal(data.x_eval[..., 0], x[4:])
    assert (data.y_train.tolist(), data.y_eval.tolist(), data.y_eval.dtype) == (
        [0, 1, 2, 3],
        [4, 5],
        np.int32,
    )


def _idx(values: np.ndarray[Any, Any]) -> bytes:
    """The idx format: two zeros, 8 for unsigned bytes, the rank, each dimension big-endian, the bytes."""
    dimensions = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + dimensions + values.tobytes())


def test_fashion_mnist(cache: Path) -> None:
    x, y = _images(6, 28, 28), np.arange(6, dtype=np.uint8)
    folder = cache / "fashion-mnist"
    folder.mkdir()
    for part, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(_idx(x[rows]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(_idx(y[rows]))
    data = keras_sets.load("fashion-mnist")
    assert np.array_equal(data.x_train[..., 0], x[:4])
    assert (data.y_train.tolist(), data.y_eval.tolist()) == ([0, 1, 2, 3], [4, 5])
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(_idx(x)[:-20])
    keras_sets.load.cache_clear()
    with pytest.raises(DataFileError, match="is cached but cannot be read"):
        keras_sets.load("fashion-mnist")


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """CIFAR-10 was pickled by Python 2, whose strings (opcodes U, T) Python 3 reads but never writes."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012

    def save_string(self, text: bytes | str) -> None:
        raw = text.encode("ascii") if isinstance(text, str) else text
        size = bytes([len(raw)]) if len(raw) < 256 else len(raw).to_bytes(4, "little")
        self.write((b"U" if len(raw) < 256 else b"T") + size + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def _pickled_by_python_2(content: dict[bytes, Any]) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def test_cifar10(cache: Path) -> None:
    """One image per published batch: Keras repeats it to the 10,000 that it expects."""
    with tarfile.open(cache / "cifar-10-batches-py-target_archive", "w:gz") as archive:
        for label, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
            planes = np.repeat(np.array([[label, 100, 200]], np.uint8), 1024, axis=1)
            content = {b"batch_label": b"", b"labels": [label], b"data": planes, b"filenames": [b"a.png"]}
            pickled = _pickled_by_python_2(content)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(pickled)
            archive.addfile(member, io.BytesIO(pickled))
    data = keras_sets.load("cifar10")
    assert data.x_train.shape == (50_000, 32, 32, 3)
    assert data.x_train[20_000, 31, 31].tolist() == [2, 100, 200]
    assert data.y_train[::10_000].tolist() == [0, 1, 2, 3, 4]
    assert (data.x_eval.shape, data.y_eval.tolist()) == ((1, 32, 32, 3), [5])
    keras_sets.load.cache_clear()


@pytest.mark.parametrize("name", keras_sets.SOURCES)
def test_what_cannot_be_downloaded_says_which_file_to_put_where(cache: Path, name: str) -> None:
    with pytest.raises(DataFileError, match="cannot be downloaded") as caught:
        keras_sets.load(name)
    source = keras_sets.SOURCES[name]
    for path, published in source.files.items():
        assert f"{source.origin}{published} as {cache / path}" in str(caught.value)
    assert "--set data=synthetic" in str(caught.value)


def test_a_file_that_is_not_the_published_one_is_named_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = keras_sets.SOURCES["mnist"]
    monkeypatch.setitem(keras_sets.SOURCES, "mnist", source._replace(sha256={"mnist.npz": "0" * 64}))
    (cache / "mnist.npz").write_text("mine")
    with pytest.raises(DataFileError, match="not the published mnist file"):
        keras_sets.load("mnist")
    assert (cache / "mnist.npz").read_text() == "mine"


def test_pinned_checksums_are_those_in_keras() -> None:
    import importlib
    import inspect

    for source in keras_sets.SOURCES.values():
        code = inspect.getsource(importlib.import_module(f"keras.src.datasets.{source.module}"))
        assert re.findall(r'"([0-9a-f]{64})"', code) == list(source.sha256.values())


def test_arrays_are_sharded_batched_and_reshuffled() -> None:
    context = DataContext(4, num_shards=2, shard_index=1, seed=5)
    train = arrays.batches((np.arange(10), -np.arange(10)), context, train=True)
    epochs = [[pair for x, y in train.as_numpy_iterator() for pair in zip(x, y, strict=True)] for _ in range(2)]
    assert [sorted(x for x, _ in epoch) for epoch in epochs] == [[1, 3, 5, 7, 9]] * 2
    assert epochs[0] != epochs[1]
    assert all(y == -x for x, y in epochs[0])
    scored = arrays.batches((np.arange(10),), context, train=False)
    assert [x.tolist() for (x,) in scored.as_numpy_iterator()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_arrays_do_not_become_constants_of_a_graph() -> None:
    """An asynchronous worker would get them inside its function's definition: 15 s for CIFAR-10."""
    import tensorflow as tf

    image = np.zeros((100, 28, 28, 1), np.uint8)
    stream = tf.function(lambda: arrays.batches((image,), DataContext(4), train=True))
    definition = stream.get_concrete_function().graph.as_graph_def()
    assert definition.ByteSize() < image.nbytes / 2


def test_tfrecords(tmp_path: Path) -> None:
    import tensorflow as tf

    for part in range(2):
        with tf.io.TFRecordWriter(str(tmp_path / f"{part}.tfrecord")) as writer:
            for number in range(3):
                label = tf.train.Feature(int64_list=tf.train.Int64List(value=[10 * part + number]))
                x = tf.train.Feature(float_list=tf.train.FloatList(value=[number, 0.5]))
                features = tf.train.Features(feature={"label": label, "x": x})
                writer.write(tf.train.Example(features=features).SerializeToString())
    schema = {"x": tf.io.FixedLenFeature([2], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}
    paths = tfrecord.files(tmp_path / "*.tfrecord")
    assert [tfrecord.check_framing(path) for path in paths] == [3, 3]
    dataset = tfrecord.examples(paths, schema, lambda features: (features["x"], features["label"]))
    assert [int(label) for _, label in dataset] == [0, 1, 2, 10, 11, 12]
    paths[1].write_bytes(paths[1].read_bytes()[:-3])
    with pytest.raises(DataFileError, match=re.escape(f"{paths[1]}: ends inside record 2")):
        tfrecord.examples(paths, schema, lambda features: features)


def test_image_folders(tmp_path: Path) -> None:
    import tensorflow as tf

    for label, name in enumerate(("black", "white")):
        (tmp_path / name).mkdir()
        for number in range(5):
            image = tf.fill((20, 30, 3), tf.cast(255 * label, tf.uint8))
            tf.io.write_file(str(tmp_path / name / f"{number}.png"), tf.io.encode_png(image))
    found = folders.find(tmp_path)
    context = DataContext(3, num_shards=2, shard_index=0)
    batches = list(folders.batches(found.train, 16, context, train=True).as_numpy_iterator())
    assert [images.shape for images, _ in batches] == [(3, 16, 16, 3), (1, 16, 16, 3)]
    for images, labels in batches:
        assert np.array_equal(images.mean(axis=(1, 2, 3)), 255 * labels)
    broken = tmp_path / "black" / "0.png"
    broken.write_text("no image")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"not an image file.*black/0\.png"):
        list(folders.batches(found.evaluation, 16, context, train=False))


def test_generator_as_a_dataset() -> None:
    def samples() -> Any:
        yield from ((np.full(2, n, np.float32), n) for n in range(3))

    dataset = generator.dataset(samples)
    assert dataset.element_spec[0].shape == (2,)
    assert [int(y) for _ in range(2) for _, y in dataset] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("asked", [None, True, False])
def test_pipelines_have_no_tuner_unless_it_was_asked_for(asked: bool | None) -> None:
    """Deleting an iterator would wait up to a minute for the tuner's thread (`workers.data.stream.without_tuner`)."""
    import tensorflow as tf

    from tests.made import settings
    from workers.data.stream import training_stream

    class Pipeline:
        class_weight = None

        @staticmethod
        def train_dataset(context: DataContext) -> tf.data.Dataset:
            dataset = tf.data.Dataset.range(100).map(lambda x: x, num_parallel_calls=tf.data.AUTOTUNE).batch(10)
            options = tf.data.Options()
            if asked is not None:
                options.autotune.enabled = asked
            return dataset.with_options(options)

    stream = training_stream(Pipeline(), settings(batch_size=10), seed=0, num_shards=2, shard_index=1)  # type: ignore[arg-type]
    assert stream.options().autotune.enabled is (asked or False)
    assert next(iter(stream)).numpy().tolist() == list(range(10, 20))
