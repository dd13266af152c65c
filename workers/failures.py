"""From an exception in a replica to the `TaskFailure` the driver decides on: whose fault, and what to try."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

from jobs.data.errors import DataFileError
from jobs.loading import JobNotFound, ParamsError
from jobs.staged import as_written
from workers.errors import BROKEN_OFF, RefusedError
from workers.messages import Assignment, FailureKind, TaskFailure

_OURS = f"{Path(__file__).resolve().parent}{os.sep}"

_SPEC_ERRORS = (RefusedError, DataFileError, JobNotFound, ParamsError)
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
    target, directory = assignment.settings.job, assignment.settings.directory
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


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_FUNCTION_NODE = re.compile(r"\{\{function_node [^}]*\}\} ?")
_ROOT_ERROR = re.compile(r"^\(\d+\) ?[A-Z_]+: +")
_INNER = re.compile(r"^ {4,}(\w+(?:\.\w+)*): (?=\S)", re.MULTILINE)
_OP = re.compile(r" \[Op:\w+\].*$", re.DOTALL)
_STACK = re.compile(r"Detected at node .*\(most recent call last\):\n(?:(?: +.*)?\n)*")
_ENDS = ("\n0 successful operations.", "\nAdditional GRPC error information")
"""After these, a message from another task says everything a second time."""


def essence(message: str) -> str:
    """The line of `message` that a person needs first.

    Keras sets it in bold after "Exception encountered when calling ..."; autograph puts it last after "in user
    code"; TensorFlow puts it between the stack of the failed operation and the operation's name.
    """
    message = brief(message)
    bold = _BOLD.search(message)
    if message.startswith("Exception encountered when calling") and bold:
        return essence(bold.group(1))
    text = _FUNCTION_NODE.sub("", _COLOURS.sub("", message))
    if text.startswith("in user code:"):
        inner = list(_INNER.finditer(text))
        if inner:
            return essence(text[inner[-1].end() :])
    before, node, _ = text.partition("[[{{")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    if not lines:
        return ""
    return _OP.sub("", _ROOT_ERROR.sub("", lines[-1 if node else 0]))


def brief(message: str) -> str:
    """`message` without what it says twice: the operation's stack for each root error, all of it for each task."""
    ends = [at for at in (message.find(end) for end in _ENDS) if at >= 0]
    message = message[: min(ends)] if ends else message
    first = _STACK.search(message)
    return message[: first.end()] + _STACK.sub("", message[first.end() :]) if first else message
