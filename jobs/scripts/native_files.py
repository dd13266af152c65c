"""Has HDF5's and TensorFlow's native code look for files where `jobs.scripts.folders` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from jobs.scripts.overlay import Overlay, active

_READING = ("FileExists", "IsDirectory", "Stat", "ReadFileToString", "BufferedInputStream")
_WRITING = ("WritableFile", "CreateDir", "RecursivelyCreateDir")
_ABSOLUTE = r"/.*|[a-zA-Z0-9]+://.*"


def install(replace: Callable[[Any, str, Callable[[Overlay, Any], Any]], None]) -> None:
    """`replace(holder, name, path_of)` replaces a function whose first argument is a path."""
    from tensorflow.python.data.ops import readers
    from tensorflow.python.lib.io import file_io
    from tensorflow.python.ops import gen_io_ops

    native = file_io._pywrap_file_io
    for name in _READING:
        replace(native, name, Overlay.to_read)
    for name in _WRITING:
        replace(native, name, lambda overlay, path: overlay.to_write(path))
    _replace_children(native)
    _replace_deletions(native)
    _replace_patterns(native, gen_io_ops)
    for holder, name in ((gen_io_ops, "read_file"), (readers, "_create_or_validate_filenames_dataset")):
        _replace_names(holder, name)
    _replace_hdf5()


def _replace_children(native: Any) -> None:
    children = native.GetChildren

    def found(path: bytes) -> list[Any]:
        overlay = active()
        if overlay is None:
            return list(children(path))
        return [*children(overlay.to_read(path)), *overlay.names_below_home(path)]

    def merged(path: bytes) -> list[Any]:
        return list(dict.fromkeys(map(os.fsdecode, found(path))))

    native.GetChildren = merged


def _replace_deletions(native: Any) -> None:
    def replace(name: str) -> None:
        function = getattr(native, name)

        def deleted(path: bytes) -> Any:
            overlay = active()
            if overlay is not None:
                if overlay.delete(path):
                    return None
                path = overlay.to_write(path)
            return function(path)

        setattr(native, name, deleted)

    for name in ("DeleteFile", "DeleteRecursively"):
        replace(name)

    def replace_pair(name: str, *, moves: bool) -> None:
        function = getattr(native, name)

        def called(source: bytes, target: bytes, *arguments: Any) -> Any:
            overlay = active()
            if overlay is not None:
                found = overlay.to_write(source, keep=True) if moves else overlay.to_read(source)
                if moves:
                    overlay.delete(source)
                source, target = found, overlay.to_write(target)
            return function(source, target, *arguments)

        setattr(native, name, called)

    replace_pair("CopyFile", moves=False)
    replace_pair("RenameFile", moves=True)


def _replace_patterns(native: Any, gen_io_ops: Any) -> None:
    """Patterns match in the user's folder what they do not match in the script's own."""
    by_python, by_op = native.GetMatchingFiles, gen_io_ops.matching_files

    def there(overlay: Overlay, pattern: Any) -> Any:
        place = overlay.place(pattern)
        return pattern if place is None else place.other

    def matched(pattern: bytes) -> list[Any]:
        overlay = active()
        return list(by_python(pattern)) or ([] if overlay is None else list(by_python(there(overlay, pattern))))

    @wraps(by_op)
    def matched_by_op(pattern: Any, name: Any = None) -> Any:
        import tensorflow as tf

        overlay = active()
        if overlay is None or not tf.executing_eagerly():
            return by_op(pattern, name)
        found = by_op(pattern, name)
        if len(found):
            return tf.constant([_absolute(overlay, one.decode()) for one in found.numpy()])
        patterns = tf.nest.map_structure(tf.convert_to_tensor, pattern)
        texts = [there(overlay, one.decode()) for one in tf.reshape(patterns, [-1]).numpy()]
        return by_op(texts, name)

    native.GetMatchingFiles, gen_io_ops.matching_files = matched, matched_by_op


def _replace_names(holder: Any, name: str) -> None:
    """Names of files that are tensors: in a graph, the graph looks where they are."""
    import tensorflow as tf

    function = getattr(holder, name)

    @wraps(function)
    def called(names: Any, *arguments: Any, **options: Any) -> Any:
        overlay = active()
        if overlay is not None:
            if isinstance(names, tf.data.Dataset):
                names = names.map(lambda one: _located(overlay, one))
            else:
                names = tf.nest.map_structure(lambda one: os.fspath(one) if hasattr(one, "__fspath__") else one, names)
                names = _located(overlay, tf.convert_to_tensor(names))
        return function(names, *arguments, **options)

    setattr(holder, name, tf.autograph.experimental.do_not_convert(called))


def _located(overlay: Overlay, names: Any) -> Any:
    """The paths `names`, where they are."""
    import tensorflow as tf

    if names.dtype != tf.string:
        return names
    if tf.executing_eagerly():
        found = [_absolute(overlay, one.decode()) for one in tf.reshape(names, [-1]).numpy()]
        return tf.reshape(tf.constant(found, tf.string, [len(found)]), names.shape)
    from tensorflow.python.ops import gen_io_ops

    def one(name: tf.Tensor) -> tf.Tensor:
        own, there = (tf.strings.join([folder, "/", name]) for folder in (overlay.here, overlay.home))
        found = tf.size(gen_io_ops.matching_files(own)) > 0
        relative = tf.where(found, own, there)
        return tf.where(tf.strings.regex_full_match(name, _ABSOLUTE), name, relative)

    flat = tf.map_fn(one, tf.reshape(names, [-1]))
    return tf.reshape(flat, tf.shape(names))


def _absolute(overlay: Overlay, name: str) -> str:
    found = str(overlay.to_read(name))
    return found if "://" in found else os.path.join(os.getcwd(), found)


def _replace_hdf5() -> None:
    import h5py

    make = h5py.File.__init__

    @wraps(make)
    def init(file: Any, name: Any, mode: str = "r", *arguments: Any, **options: Any) -> None:
        overlay = active()
        if overlay is not None and isinstance(name, str | bytes | os.PathLike):
            path = os.fspath(name)
            name = overlay.to_read(path) if mode == "r" else overlay.to_write(path, keep=mode in ("r+", "a"))
        make(file, name, mode, *arguments, **options)

    h5py.File.__init__ = init
