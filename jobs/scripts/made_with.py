"""Remembers what a script makes its layers with, so that they can be made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

_given: WeakKeyDictionary[Any, tuple[tuple[Any, ...], dict[str, Any]]] = WeakKeyDictionary()


def remember(base: Any, is_running: Callable[[], bool]) -> None:
    """Have layers of the class `base` of Keras remembered that are made while a script is running.

    Keras itself does so for arguments that are numbers or text only.
    """
    make = base.__new__

    def made(kind: Any, *arguments: Any, **options: Any) -> Any:
        layer = make(kind, *arguments, **options)
        if is_running():
            _given[layer] = arguments, options
        return layer

    base.__new__ = staticmethod(made)


def made_with(layer: Any) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments that `layer` was made with; None if they were not remembered."""
    return _given.get(layer)
