"""MNIST, Fashion-MNIST and CIFAR-10 from `keras.datasets`, made safe for many processes and for offline hosts.

Keras downloads into `~/.keras/datasets` (`KERAS_HOME`). On its own it has three problems: processes that start together
download into the same file; a file with unexpected content is deleted before the download that replaces it has
succeeded; and a network that drops packets makes it hang. Here one process at a time loads, files are verified first,
and a stalled download times out.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jobs.data.errors import DataFileError
from jobs.data.synthetic import ImageSet

PROBE_SECONDS = 5.0
STALL_SECONDS = 30.0
"""A download that receives nothing for this long is aborted."""


class Source(NamedTuple):
    """Where a dataset is published, and where Keras caches it."""

    module: str
    """Module in `keras.datasets`."""
    origin: str
    """URL of the folder in which the files are published."""
    files: Mapping[str, str]
    """Published file name, by path below the cache folder."""
    sha256: Mapping[str, str]
    """Digests of the files for which Keras itself pins one, by path below the cache folder."""


_GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_FASHION = ("train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz")  # fmt: skip
_CIFAR = "cifar-10-batches-py-target_archive"

SOURCES: dict[str, Source] = {
    "mnist": Source(
        "mnist",
        _GOOGLE,
        {"mnist.npz": "mnist.npz"},
        {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
    ),
    "fashion-mnist": Source("fashion_mnist", _GOOGLE, {f"fashion-mnist/{name}": name for name in _FASHION}, {}),
    "cifar10": Source(
        "cifar10",
        "https://www.cs.toronto.edu/~kriz/",
        {_CIFAR: "cifar-10-python.tar.gz"},
        {_CIFAR: "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    ),
}


def cache_folder() -> Path:
    """The folder in which Keras looks for data files: `$KERAS_HOME/datasets`, `~/.keras/datasets`, or below /tmp.

    It is created here, because Keras treats a home that does not exist yet as one that it cannot write to.
    """
    user = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")  # noqa: S108 - Keras' own rule
    home = Path(os.environ.get("KERAS_HOME") or user / ".keras").expanduser()
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir(), ".keras")  # noqa: S108
    folder = home / "datasets"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataFileError(folder, f"cannot be created ({error}). Set KERAS_HOME to a writable folder") from error
    return folder


def check(name: str) -> None:
    """Raise DataFileError, as `load` would, if a dataset is neither cached nor downloadable; imports no Keras."""
    source = SOURCES[name]
    folder = cache_folder()
    missing = [path for path in source.files if not (folder / path).exists()]
    try:
        for path in missing:
            request = urllib.request.Request(source.origin + source.files[path], method="HEAD")  # noqa: S310
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()  # noqa: S310 - https, from SOURCES
    except OSError as error:
        raise DataFileError(folder, _advice(name, folder, missing, error)) from error


@cache
def load(name: str) -> ImageSet:
    """Load a dataset, downloading it if it is not cached. Images get a last axis for their channels.

    Raises:
        DataFileError: it is neither cached nor downloadable, or damaged; says which file to put where.
    """
    import keras
    import numpy as np

    source = SOURCES[name]
    folder = cache_folder()
    with _exclusive(folder / f".{source.module}.lock"), _download_timeout():
        _verify(name, folder)
        missing = [path for path in source.files if not (folder / path).exists()]
        try:
            (x_train, y_train), (x_eval, y_eval) = getattr(keras.datasets, source.module).load_data()
        except Exception as error:
            raise DataFileError(folder, _advice(name, folder, missing, error)) from error

    x_train, x_eval = (x.reshape(*x.shape[:3], -1) for x in (x_train, x_eval))
    y_train, y_eval = (y.reshape(-1).astype(np.int32) for y in (y_train, y_eval))
    return ImageSet(x_train, y_train, x_eval, y_eval)


def _verify(name: str, folder: Path) -> None:
    for path, expected in SOURCES[name].sha256.items():
        file = folder / path
        if not file.exists():
            continue
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise DataFileError(
                file,
                f"not the published {name} file: its SHA-256 is {found}, not {expected}. "
                "Replace it, or delete it to have it downloaded",
            )


def _advice(name: str, folder: Path, missing: list[str], error: Exception) -> str:
    source = SOURCES[name]
    if not missing:
        problem = f"{name} is cached but cannot be read ({type(error).__name__}: {error})"
        return f"{problem}. Delete {', '.join(source.files)} to have it downloaded again"
    downloads = "; ".join(f"{source.origin}{source.files[path]} as {folder / path}" for path in missing)
    return (
        f"{name} is not cached and cannot be downloaded ({error}). On a machine with a network, download {downloads}. "
        "KERAS_HOME names another cache folder. To train on synthetic images instead: --set data=synthetic"
    )


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _download_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
