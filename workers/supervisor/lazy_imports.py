"""Lazy imports: a module runs only when one of its attributes is first used.

`import keras` imports Matplotlib, scikit-learn and OpenCV where they are installed, for `keras.visualization` and
`keras.wrappers` only. Those Keras modules are made lazy, not the packages: a job that imports Matplotlib itself gets
the real one.

Measured on 2 cores, in ten pairs, `zygote.preload` with and without: 3.6 s of processor time instead of 4.1 s (median
difference 0.5 s) and 26 MiB less; where scikit-learn, OpenCV and pandas are installed too, 4.8 s instead of 6.7 s
(1.9 s) and 101 MiB less. Importing scikit-learn may also start a thread (pyarrow's allocator), which a zygote avoids.

`importlib.util.LazyLoader` does not serve here. It runs a module at the first access to *any* attribute, and AutoGraph
reads `__file__` of every entry of `sys.modules` for every function it converts (`_fix_linecache_record` in
https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/python/autograph/pyct/inspect_utils.py): each replica
would then import Matplotlib. Here the attributes that the import system sets do not count as uses.

Not made lazy: pandas, whose classes Keras needs while it is imported; `requests` and `scipy.sparse`, from which
TensorFlow's own copy of Keras imports.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PLOTTING_AND_WRAPPERS = (
    "keras.visualization",
    "keras.src.visualization.draw_bounding_boxes",
    "keras.src.visualization.plot_image_gallery",
    "keras.wrappers",
)
"""The modules through which `import keras` would reach OpenCV, Matplotlib and scikit-learn."""

_running = threading.RLock()


def import_lazily(*names: str) -> None:
    """Make later imports of these modules lazy. Modules that are imported already stay as they are.

    A module that is not installed raises ImportError when it is imported, as usual. What an installed module raises
    while it runs is raised by its first use, and again by the next.
    """
    sys.meta_path.insert(0, _LazyFinder(names))


class _LazyFinder(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = _LazyLoader(spec.loader)
        return spec


class _LazyLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _LazyModule(spec.name)
        module.__lazy_loader__ = self._loader
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing yet, unless the module is reloaded."""
        if not isinstance(module, _LazyModule):
            self._loader.exec_module(module)


class _LazyModule(ModuleType):
    """A module that runs when an attribute that the import system has not set is used."""

    __lazy_loader__: Loader

    def __getattr__(self, name: str) -> Any:
        if not _is_special(name):
            _run(self)
            if type(self) is ModuleType:
                return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if not _is_special(name):
            _run(self)
        ModuleType.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        _run(self)
        return list(self.__dict__)


def _run(module: _LazyModule) -> None:
    """Run the module unless it has run. Other threads wait; the module itself sees what it has defined so far."""
    with _running:
        loader = module.__dict__.pop("__lazy_loader__", None)
        if loader is None:
            return
        module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        try:
            loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
        except BaseException:
            module.__lazy_loader__ = loader
            raise


def _is_special(name: str) -> bool:
    """Whether the import system sets `name`, or tools look it up in every module. `import *` begins with `__all__`."""
    return name.startswith("__") and name.endswith("__") and name != "__all__"
