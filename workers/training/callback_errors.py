"""Errors that the job's callbacks raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb


@contextmanager
def naming_the_callback() -> Iterator[None]:
    """Add the name of the failing callback, found in the frames of Keras' list, to exceptions of a hook."""
    try:
        yield
    except Exception as error:
        for frame, _ in walk_tb(error.__traceback__):
            if type(frame.f_locals.get("self")).__name__ == "CallbackList" and "callback" in frame.f_locals:
                name, hook = type(frame.f_locals["callback"]).__name__, frame.f_code.co_name.lstrip("_")
                error.add_note(f"Raised in {hook} of the callback {name}.")
        raise
