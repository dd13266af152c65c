"""From an exception in a replica to the `TaskFailure` the driver decides on: whose fault, and what to try."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from jobs.data.errors import DataFileError
from jobs.loading import JobNotFound, ParamsError
from jobs.staged import as_written
from workers.data.stream import DataError
from workers.essence import brief, essence
from workers.messages import Assignment, FailureKind, TaskFailure
from workers.model.step import NoLossError, NotCompiledError
from workers.modes.joined_batch import UnsupportedOptimizerError
from workers.modes.shared_memory import BROKEN_OFF
from workers.stragglers import ProfileError
from workers.training.callbacks import CallbackError
from workers.training.evaluator import UnknownMetricError
from workers.training.start import LearningRateError

_OURS = f"{Path(__file__).resolve().parent}{os.sep}"

_SPEC_ERRORS = (
    CallbackError,
    DataError,
    DataFileError,
    JobNotFound,
    LearningRateError,
    NoLossError,
    NotCompiledError,
    ParamsError,
    ProfileError,
    UnknownMetricError,
    UnsupportedOptimizerError,
)
_ADDRESS_SIGN = "Could not start gRPC server"
"""TensorFlow's words. A job that opens a port of its own, and finds it taken, is the user's to mend."""
_PEER_ERRORS = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")
_PEER_SIGNS = (
    "Collective ops is aborted",
    "Connection reset by peer",
    "failed to connect to all addresses",
    BROKEN_OFF,
)


def describe(error: BaseException, assignment: Assignment) -> TaskFailure:
    kind = classify(error)
    text = "" if kind is FailureKind.SPEC else user_traceback(error)
    message = _text(error).strip() or "no message"
    summary = message if kind is FailureKind.SPEC else f"{type(error).__name__}: {essence(message)}"
    target, directory = assignment.job.target, assignment.job.directory
    summary, text = (as_written(words, target, directory) for words in (summary, text))
    return TaskFailure(assignment.task, kind, summary, text, _hint(error))


def classify(error: BaseException) -> FailureKind:
    """Whose fault `error` is. Types are compared by name where importing them would import TensorFlow."""
    message = _text(error)
    if _ADDRESS_SIGN in message:
        return FailureKind.ADDRESS_TAKEN
    if isinstance(error, _SPEC_ERRORS):
        return FailureKind.SPEC
    if type(error).__name__ in _PEER_ERRORS or any(sign in message for sign in _PEER_SIGNS):
        return FailureKind.PEER
    return FailureKind.USER


def user_traceback(error: BaseException) -> str:
    """The traceback from the first frame outside of Regatta on: the user's own code, as they would see it."""
    frames = list(traceback.extract_tb(error.__traceback__))
    theirs = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(_OURS)), 0)
    lines = traceback.format_list(traceback.StackSummary.from_list(frames[theirs:]))
    told = brief("".join(traceback.format_exception_only(error)))
    return "".join(["Traceback (most recent call last):\n", *lines, told.removesuffix("\n"), "\n"])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is the user's, and may do anything
        return "its message could not be read: the exception's __str__ raised"


_HINTS = {
    "outside the valid range of [0": "A label has to be from 0 to the number of the model's outputs, less one.",
    "corrupted record": "A TFRecord file is damaged; jobs.data.tfrecord.examples says which.",
    "truncated record": "A TFRecord file is cut off; jobs.data.tfrecord.examples says which.",
    "No such file or directory": "Every task reads its data itself, under this path on its own host.",
}
"""What to try, by words in the message."""


def _hint(error: BaseException) -> str:
    """What to try, and what was noted on the error's way up."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "The device ran out of memory: lower --batch-size, or try --mixed-precision."
    known = [hint for words, hint in _HINTS.items() if words in _text(error)]
    return " ".join([*known[:1], *getattr(error, "__notes__", ())])
