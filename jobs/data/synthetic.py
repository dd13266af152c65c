"""Synthetic labelled images, for running image jobs offline and for benchmarks."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Shape = tuple[int, int, int]
"""Height, width, channels."""


class ImageSet(NamedTuple):
    """Images uint8 0..255 of shape (n, height, width, channels), and labels int32 of shape (n,)."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int32]
    x_eval: NDArray[np.uint8]
    y_eval: NDArray[np.int32]


@cache
def images(shape: Shape, classes: int = 10, train: int = 10_000, evaluation: int = 2_000) -> ImageSet:
    """Generate a fixed set of images: each class has its own pattern, shifted, at varying contrast, with noise.

    A convolutional network learns them in a few hundred steps, and not in ten. NumPy guarantees that `RandomState`
    produces the same numbers in every version.
    """
    import numpy as np

    random = np.random.RandomState(2026)
    patterns = _patterns(random, shape, classes)
    x, y = [], []
    for count in (train, evaluation):
        labels = np.arange(count, dtype=np.int32) % classes
        random.shuffle(labels)
        x.append(_samples(random, patterns, labels))
        y.append(labels)
    return ImageSet(x[0], y[0], x[1], y[1])


def _patterns(random: np.random.RandomState, shape: Shape, classes: int) -> NDArray[np.float32]:
    """Generate one smooth random texture per class, values in -1..1, shape (classes, *shape)."""
    import numpy as np

    height, width, channels = shape
    rows, columns = np.mgrid[0:height, 0:width] / 8.0
    waves = random.normal(size=(classes, channels, 4, 2))
    phases = random.uniform(0, 2 * np.pi, size=(classes, channels, 4))
    angles = waves[..., 0, None, None] * rows + waves[..., 1, None, None] * columns + phases[..., None, None]
    texture = np.sin(angles).sum(axis=2).transpose(0, 2, 3, 1)
    scaled: NDArray[np.float32] = (texture / np.abs(texture).max()).astype(np.float32)
    return scaled


def _samples(
    random: np.random.RandomState, patterns: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.uint8]:
    import numpy as np

    _, height, width, channels = patterns.shape
    count = len(labels)
    down = (np.arange(height) + random.randint(-2, 3, (count, 1))) % height
    across = (np.arange(width) + random.randint(-2, 3, (count, 1))) % width
    out = np.empty((count, height, width, channels), np.uint8)
    for start in range(0, count, 1_000):  # in chunks: 10,000 images of 224x224 as floats would not fit into memory
        part = slice(start, start + 1_000)
        moved = patterns[labels[part, None, None], down[part, :, None], across[part, None, :]]
        contrast = random.uniform(30, 80, (len(moved), 1, 1, 1)).astype(np.float32)
        noise = random.standard_normal(moved.shape).astype(np.float32) * 50
        out[part] = np.clip(128 + contrast * moved + noise, 0, 255).astype(np.uint8)
    return out
