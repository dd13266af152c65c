"""Turns an exception in a replica into the `TaskFailure` that the driver acts on: whose fault, and what to try."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

from jobs.data.errors import DataFileError
from jobs.loading import JobNotFound, ParamsError
from jobs.scripts.errors import ScriptError
from jobs.staged import as_written
from workers.errors import BROKEN_OFF, DIFFERENT_SHAPES, DIVERGED, RefusedError
from workers.messages import Assignment, FailureKind, TaskFailure

_OUR_FOLDER = f"{Path(__file__).resolve().parent}{os.sep}"

_INSTALLED = f"{os.sep}site-packages{os.sep}"
_PLUMBING = (
    _OUR_FOLDER,
    f"{os.sep}contextlib.py",
    "__autograph_generated_file",
    *(f"{os.sep}tensorflow{os.sep}python{os.sep}{part}{os.sep}" for part in ("autograph", "distribute", "eager")),
    *(f"{os.sep}tensorflow{os.sep}python{os.sep}{part}{os.sep}" for part in ("training", "util")),
)

_FILE_ACCESS = f"{os.sep}tensorflow{os.sep}python{os.sep}lib{os.sep}io{os.sep}"

_SPEC_ERRORS = (RefusedError, DataFileError, JobNotFound, ParamsError, ScriptError)
_PORT_TAKEN = "Could not start gRPC server"
"""TensorFlow's message. If a port that the job itself opens is taken, that is an error of the user's code."""
_NO_THREAD = "can't start new thread"
_PEER_ERRORS = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")
_ABORTED = "Collective ops is aborted"
_PEER_MESSAGES = (
    _ABORTED,
    "Connection reset by peer",
    "failed to connect to all addresses",
    "Unable to parse request",  # gRPC's words for a request of which not all arrived
    BROKEN_OFF,
)

_DETERMINISTIC = (
    "AlreadyExistsError",
    "DataLossError",
    "FailedPreconditionError",
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "UnimplementedError",
)
"""Kinds of TensorFlow's errors that the same data and code would raise again."""
_MISMATCH = re.compile(r"(?:Shape mismatch in the collective|Collective instance \d+ expected)[^\n]*")
"""Workers take part in a collective with different shapes or types. TensorFlow reports it as aborted collectives."""
_ASSERTED = re.compile(rf"assertion failed: \[(element\S* of train_dataset has {DIFFERENT_SHAPES}[^\n]*?shape\.)\]")
_PYTHON = re.compile(r"^(?:[\w.]+\.)?(?!RuntimeError)\w+(?:Error|Exception): .*\n(?:Traceback|\s*$)", re.MULTILINE)
"""How an exception of Python code that TensorFlow runs (`py_function`, `from_generator`) begins in its message."""


def describe(error: BaseException, assignment: Assignment) -> TaskFailure:
    """Build the failure that a task reports for `error`."""
    kind = classify(error)
    if kind is FailureKind.PEER and _is_alone(assignment):
        kind = FailureKind.USER
    text = "" if kind is FailureKind.SPEC else user_traceback(error)
    message = _refusal(_text(error).strip() or "no message")
    summary = message if kind is FailureKind.SPEC else f"{type(error).__name__}: {failure_summary(message)}"
    job, directory = assignment.settings.job, assignment.settings.directory
    summary, text = (as_written(words, job, directory) for words in (summary, text))
    return TaskFailure(assignment.task, kind, summary, text, _hint(error))


def _is_alone(assignment: Assignment) -> bool:
    """Whether the task talks to no other one: what is unavailable to it is something of the job's, as a storage."""
    tasks = [address for addresses in assignment.tf_config.get("cluster", {}).values() for address in addresses]
    return assignment.task.type == "evaluator" or len(tasks) == 1


def _refusal(message: str) -> str:
    """The words of a refusal of ours that TensorFlow has raised, from within those that it adds."""
    found = _ASSERTED.search(message)
    return found[1].replace("\\'", "'") if found else message


def classify(error: BaseException) -> FailureKind:
    """Decide whose fault `error` is. Types are compared by name where importing them would import TensorFlow."""
    message = _text(error)
    if _PORT_TAKEN in message:
        return FailureKind.ADDRESS_TAKEN
    if isinstance(error, _SPEC_ERRORS) or DIFFERENT_SHAPES in message:
        return FailureKind.SPEC
    if _NO_THREAD in message:
        return FailureKind.INFRASTRUCTURE
    if _is_raised_by_the_user(error):
        return FailureKind.USER
    return FailureKind.PEER if _is_of_a_peer(type(error).__name__, message) else FailureKind.USER


def _is_raised_by_the_user(error: BaseException) -> bool:
    """Whether the job's own Python code raised `error`, or access to a file did that it asked for.

    Such an error may be of any kind, with any words: a callback that copies files to a storage which is not available,
    or a future that was cancelled. An operation of TensorFlow's, such as one that waits for another worker while the
    user's code builds the model, ends its message with its name; Keras and TensorFlow cut their own frames.
    """
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if not any(map(_is_users, files)) or BROKEN_OFF in _text(error):
        return False
    if not type(error).__module__.startswith("tensorflow."):
        return True
    return (_is_users(files[-1]) or _FILE_ACCESS in files[-1]) and "[Op:" not in _text(error)


def _is_of_a_peer(name: str, message: str) -> bool:
    """Whether an error of type `name` arises from another task's end or the way to it."""
    if _MISMATCH.search(message) or DIVERGED in message:
        return False
    if name in _PEER_ERRORS or BROKEN_OFF in message:
        return True
    if _PYTHON.search(_FUNCTION_NODE.sub("", message)) or (name in _DETERMINISTIC and _ABORTED not in message):
        return False
    return any(sign in message for sign in _PEER_MESSAGES)


def user_traceback(error: BaseException) -> str:
    """Format the traceback from the first frame outside `workers` on, which is the user's own code.

    An error of code that TensorFlow called for us comes with up to 40 frames of its tracing and its replicas' threads,
    which are left out.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    if any(_is_users(frame.filename) for frame in frames):
        frames = [frame for frame in frames if not any(part in frame.filename for part in _PLUMBING)]
    first = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(_OUR_FOLDER)), 0)
    lines = traceback.format_list(traceback.StackSummary.from_list(frames[first:]))
    message = without_repetitions("".join(traceback.format_exception_only(error)))
    return "".join(["Traceback (most recent call last):\n", *lines, message.removesuffix("\n"), "\n"])


def _is_users(file: str) -> bool:
    standard = f"{os.sep}lib{os.sep}python3"
    foreign = _INSTALLED in file or standard in file or file.startswith("<frozen ")
    return not foreign and not any(part in file for part in _PLUMBING)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's `__str__` may do anything
        return "its message could not be read: the exception's __str__ raised"


_HINTS = {
    "outside the valid range of [0": "Labels have to be from 0 to the number of the model's outputs minus 1.",
    "in the collective": "The shape of a collective varies between batches or workers: a layer, loss or train_step "
    "reduces over workers a tensor of varying shape. Pad it to a fixed shape; if it is the same on all workers in each "
    "step, --steps-per-call 1 helps too.",
    "corrupted record": "A TFRecord file is damaged; jobs.data.tfrecord.examples says which.",
    "truncated record": "A TFRecord file is cut off; jobs.data.tfrecord.examples says which.",
    "cache lockfile already exists": "Several readers of the dataset are open at once, and dataset.cache(path) allows "
    "one: cache in memory, with .cache() or --cache. If none is, a process was killed: delete its lockfile.",
    _NO_THREAD: "This user may not have more processes or threads on that host: see `ulimit -u`.",
    "No such file or directory": "Every task reads its data from this path on its own host.",
}
"""What to try, by a part of the message."""


def _hint(error: BaseException) -> str:
    """What to try, followed by the notes that were added to the error."""
    if type(error).__name__ == "ResourceExhaustedError":
        return "The device ran out of memory: lower --batch-size, or try --mixed-precision."
    known = [hint for words, hint in _HINTS.items() if words in _text(error)]
    return " ".join([*known[:1], *getattr(error, "__notes__", ())])


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BOLD = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_FUNCTION_NODE = re.compile(r"\{\{function_node [^}]*\}\} ?")
_PIPELINE = re.compile(r"Error in user-defined function passed to \w+:\d+ transformation with iterator: \S+: ")
_ROOT_ERROR = re.compile(r"^\(\d+\) ?[A-Z_]+: +")
_INNER = re.compile(r"^ {4,}(\w+(?:\.\w+)*): (?=\S)", re.MULTILINE)
_OP = re.compile(r" \[Op:\w+\].*$", re.DOTALL)
_STACK = re.compile(r"Detected at node .*\(most recent call last\):\n(?:(?: +.*)?\n)*")
_ENDS = ("\n0 successful operations.", "\nAdditional GRPC error information")
"""Where a message from another task starts to repeat itself."""


def failure_summary(message: str) -> str:
    """Pick the line of `message` that says what went wrong.

    Keras prints it in bold after "Exception encountered when calling ..."; AutoGraph prints it last after "in user
    code"; TensorFlow prints it between the stack of the failed operation and the operation's name.
    """
    message = without_repetitions(message)
    if mismatch := _MISMATCH.search(message):
        return mismatch.group()
    bold = _BOLD.search(message)
    if message.startswith("Exception encountered when calling") and bold:
        return failure_summary(bold.group(1))
    text = _PIPELINE.sub("", _FUNCTION_NODE.sub("", _COLOURS.sub("", message)))
    if text.startswith("in user code:"):
        inner = list(_INNER.finditer(text))
        if inner:
            return failure_summary(text[inner[-1].end() :])
    before, node, _ = text.partition("[[{{")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    if not lines:
        return ""
    return _OP.sub("", _ROOT_ERROR.sub("", lines[-1 if node else 0]))


def without_repetitions(message: str) -> str:
    """Cut what TensorFlow says twice: the operation's stack once per root error, and the whole once per task."""
    ends = [at for at in (message.find(end) for end in _ENDS) if at >= 0]
    message = message[: min(ends)] if ends else message
    first = _STACK.search(message)
    return message[: first.end()] + _STACK.sub("", message[first.end() :]) if first else message
