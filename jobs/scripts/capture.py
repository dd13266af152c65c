"""Captures a script's `fit`: once only, or in a thread that waits there and goes on when training is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from jobs.scripts.fit_call import FitCall
from jobs.scripts.running import Execution, Fit, Script, Stopped, execute, never_reached

if TYPE_CHECKING:
    import keras

Other = Callable[[Fit, int], Any]
"""Stands in for a `fit` that is not the wanted one: returns its History."""


def capture(script: Script, fit: int, other: Other) -> tuple[FitCall, Execution]:
    """Run the script in this thread up to its fit number `fit`, and no further."""
    found: list[FitCall] = []

    def on_fit(reached: Fit, number: int) -> Any:
        if number < fit:
            return other(reached, number)
        if not found:  # a bare `except` of the script may have let it go on
            found.append(reached.read())
        raise Stopped

    execution = Execution(script, on_fit)
    execute(execution)
    if not found:
        raise never_reached(execution, fit)
    return found[0], execution


class WaitingScript:
    """A script in a thread of its own, which waits in its `fit` until training is over."""

    def __init__(self, script: Script, fit: int, other: Other) -> None:
        self._fit = fit
        self._other = other
        self._call: FitCall | None = None
        self._error: BaseException | None = None
        self._turn = threading.Semaphore(0)
        """The script's turn to run."""
        self._ours = threading.Semaphore(0)
        self._history: keras.callbacks.History | None = None
        self.execution = Execution(script, self._on_fit)
        self._state = dict(_keras_state())
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="regatta-script", daemon=True
        )
        self._thread.start()
        self._wait()
        if self._call is None:
            raise never_reached(self.execution, fit)
        self.call: FitCall = self._call

    def go_on(self, history: keras.callbacks.History) -> None:
        """Let `fit` return `history`, and the script run to its end ; raises what it raises."""
        self._history = history
        self._turn.release()
        self._wait()

    def _wait(self) -> None:
        self._ours.acquire()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        _keras_state().update(self._state)
        try:
            execute(self.execution)
        except BaseException as error:  # noqa: BLE001 - raised where the script is waited for
            self._error = error
        self._ours.release()

    def _on_fit(self, reached: Fit, number: int) -> Any:
        if number != self._fit:
            return self._other(reached, number)
        self._call = reached.read()
        self._ours.release()
        self._turn.acquire()
        return self._history


def _keras_state() -> dict[str, Any]:
    """Keras' own state of this thread: the dtype policy, counters of names."""
    from keras.src.backend.common.global_state import GLOBAL_STATE_TRACKER

    state: dict[str, Any] = vars(GLOBAL_STATE_TRACKER)
    return state
