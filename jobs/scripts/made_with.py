"""Remembers what a script makes its layers, metrics and losses with, so that they can be made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_NUMBERS = "object_name_uids"


class Given(NamedTuple):
    """What an object of Keras was made with."""

    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    numbers: Mapping[str, int]
    """How far Keras had counted automatic names, such as `dense_1`."""

    @contextmanager
    def named_alike(self) -> Iterator[None]:
        """Inside, names are counted from where they were."""
        from keras.src.backend.common import global_state

        before = global_state.get_global_attribute(_NUMBERS)
        global_state.set_global_attribute(_NUMBERS, defaultdict(int, self.numbers))
        try:
            yield
        finally:
            global_state.set_global_attribute(_NUMBERS, before)


_given: WeakKeyDictionary[Any, Given] = WeakKeyDictionary()


def remember(base: Any, is_running: Callable[[], bool]) -> None:
    """Have objects of the class `base` of Keras remembered that are made while a script is running.

    Keras itself does so for layers that are made with numbers or text only.
    """
    from keras.src.backend.common import global_state

    make = base.__new__

    def made(kind: Any, *arguments: Any, **options: Any) -> Any:
        new = make(kind) if make is object.__new__ else make(kind, *arguments, **options)
        if is_running():
            with suppress(TypeError):  # of a class whose objects cannot be keys
                _given[new] = Given(arguments, options, dict(global_state.get_global_attribute(_NUMBERS) or {}))
        return new

    base.__new__ = staticmethod(made)


def made_with(thing: Any) -> Given | None:
    """What `thing` was made with; None if that was not remembered."""
    try:
        return _given.get(thing)
    except TypeError:
        return None
