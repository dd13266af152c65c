"""Captures a script's `fit`: once only, or in a thread that waits there and goes on when training is over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.scripts.errors import ScriptError
from jobs.scripts.execution import Execution, Script, Stopped
from jobs.scripts.fit_call import FitCall
from jobs.scripts.intercept import Fit
from jobs.scripts.last_fit import LastFit
from jobs.scripts.recognise import files_of
from jobs.scripts.running import execute, never_reached

if TYPE_CHECKING:
    import keras

Other = Callable[[Fit, int], Any]
"""Stands in for a `fit` before or after the wanted one: returns its History."""
Again = Callable[[Fit, int], object]
"""Puts the model of an earlier `fit` into its state, in a repeated run, whose History is known."""


class Seen(NamedTuple):
    """A call of `fit`, and where it is, as `train.py:30`."""

    where: str
    call: FitCall


def look_ahead(script: Script, fit: int | None) -> tuple[list[Seen], Execution]:
    """Run the script in this thread up to its fit number `fit`, by default the last one; those before see one batch.

    Returns all of them in order.
    The last one is the one after which, by its syntax, the script cannot come to another.
    """
    follower = LastFit(files_of(script.path))
    found: list[Seen] = []

    def on_fit(reached: Fit, number: int) -> Any:
        sys.settrace(None)
        found.append(Seen(reached.where, reached.read()))
        if number == fit or (fit is None and not follower.may_fit_again(sys._getframe())):
            raise Stopped
        try:
            return reached.try_out()
        finally:
            if fit is None:
                follower.follow(Stopped)

    execution = Execution(script, on_fit)
    try:
        execute(execution)
    except ScriptError:
        raise
    except Exception as error:
        if fit is not None or len(found) < execution.fits or not found:
            raise
        name, number = script.path.name, execution.fits
        execution.note(
            f"fit {number} of {name} is taken for its last, because what follows it failed when it was tried with one "
            f"batch ({type(error).__name__}: {error}); --fit N chooses another"
        )
    finally:
        sys.settrace(None)
    if len(found) < (fit or 1):
        raise never_reached(execution, fit or 1)
    return found, execution


def capture(
    script: Script, fit: int, other: Other, repeated: tuple[Iterable[Any], Again] | None = None
) -> tuple[FitCall, Execution]:
    """Run the script in this thread up to its fit number `fit`, and no further.

    `repeated`: what the calls before it have returned in an earlier run, which they return again, and what makes their
    models.
    """
    found: list[FitCall] = []

    def on_fit(reached: Fit, number: int) -> Any:
        if number < fit:
            if repeated is not None:
                repeated[1](reached, number)
            return execution.answer(lambda: other(reached, number))
        if not found:  # a bare `except` of the script may have let it go on
            found.append(reached.read())
            execution.dtype_policy = reached.dtype_policy
        raise Stopped

    execution = Execution(script, on_fit, repeated=None if repeated is None else iter(repeated[0]))
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
        self._state = {
            name: copy(value) if isinstance(value, list | dict) else value for name, value in _keras_state().items()
        }  # or variables that wait for their values here would be initialized in the other thread too
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="regatta-script", daemon=True
        )
        self._thread.start()
        self._wait()
        if self._call is None:
            raise never_reached(self.execution, fit)
        self.call: FitCall = self._call
        self.answers: Sequence[Any] = tuple(self.execution.answers)

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
            return self.execution.answer(lambda: self._other(reached, number))
        self.execution.keeps_answers = False
        self._call = reached.read()
        self.execution.dtype_policy = reached.dtype_policy
        self.execution.cluster.swap()
        self._ours.release()
        self._turn.acquire()
        self.execution.cluster.swap()
        return self._history


def _keras_state() -> dict[str, Any]:
    """Keras' own state of this thread: the dtype policy, counters of names."""
    from keras.src.backend.common.global_state import GLOBAL_STATE_TRACKER

    state: dict[str, Any] = vars(GLOBAL_STATE_TRACKER)
    return state
