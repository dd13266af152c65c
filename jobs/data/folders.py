"""Images in one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.api import DataContext
from jobs.data.errors import WHERE, DataFileError

if TYPE_CHECKING:
    import tensorflow as tf

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif"}
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")
"""First bytes of the files of these formats."""
EVAL_NAMES = ("eval", "val", "validation", "valid", "test")
EVERY = 5
"""Without an evaluation folder, every fifth image of the sorted list is held out."""


class ImageFiles(NamedTuple):
    """Paths with their labels; a label is the index of the class folder's name in `classes`."""

    train: list[tuple[str, int]]
    evaluation: list[tuple[str, int]]
    classes: tuple[str, ...]


def find(folder: str | Path) -> ImageFiles:
    """List the images in `folder/<class>/`, or in `folder/train/<class>/` and `folder/eval/<class>/`.

    Raises:
        DataFileError: no such folder, too few class folders, no images, or an evaluation class without training images.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataFileError(root, f"there is no such folder. {WHERE}")
    if not (root / "train").is_dir():
        classes = _classes(root)
        items = _files(root, classes)
        return ImageFiles(
            [item for n, item in enumerate(items) if n % EVERY],
            [item for n, item in enumerate(items) if n % EVERY == 0],
            classes,
        )
    evaluation = next((root / name for name in EVAL_NAMES if (root / name).is_dir()), None)
    if evaluation is None:
        raise DataFileError(root, f"has train/ but none of {', '.join(f'{name}/' for name in EVAL_NAMES)}")
    classes = _classes(root / "train")
    unknown = set(_classes(evaluation)) - set(classes)
    if unknown:
        raise DataFileError(evaluation, f"has classes that train/ lacks: {', '.join(sorted(unknown))}")
    return ImageFiles(_files(root / "train", classes), _files(evaluation, classes), classes)


def batches(items: list[tuple[str, int]], size: int, context: DataContext, *, train: bool) -> tf.data.Dataset:
    """Build batches of images, float32 0..255 of shape (batch, size, size, 3), and int32 labels.

    Paths are sharded and shuffled before files are read, so that a worker opens only its own files.
    """
    import tensorflow as tf

    paths, labels = zip(*items, strict=True)
    dataset = tf.data.Dataset.from_tensor_slices((list(paths), tf.constant(labels, tf.int32)))
    if train:
        dataset = context.shard(dataset).shuffle(len(items), seed=context.seed, reshuffle_each_iteration=True)

    def read(path: tf.Tensor, label: tf.Tensor) -> Any:
        content = tf.io.read_file(path)
        known = tf.reduce_any([tf.strings.substr(content, 0, len(magic)) == magic for magic in MAGIC])
        # TensorFlow's decoder does not name the file it fails on.
        with tf.control_dependencies([tf.debugging.Assert(known, ["not an image file:", path])]):
            image = tf.io.decode_image(content, channels=3, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(image, (size, size)), (size, size, 3)), label

    return dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(context.batch_size)


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(names) < 2:
        has = ", ".join(names) or "none"
        raise DataFileError(folder, f"needs one folder of images per class, at least two; has {has}")
    return names


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[str, int]]:
    items = [
        (str(path), label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not items:
        raise DataFileError(folder, f"contains no images; searched for {', '.join(sorted(SUFFIXES))}")
    return items
