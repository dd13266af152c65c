"""From an exception in a replica to whose fault it is, and to what the user reads."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import pytest

from jobs.loading import JobNotFound, ParamsError
from tests.made import assignment
from workers.errors import BROKEN_OFF, DataError, NoLossError, NotCompiledError, UnknownMetricError
from workers.failures import classify, describe, user_traceback
from workers.messages import FailureKind, Task

pytestmark = pytest.mark.unit

ASSIGNMENT = assignment(Task("worker", 1))


class UnavailableError(Exception):
    """Named as TensorFlow's; classified by name, because importing that would import TensorFlow."""

    def __init_subclass__(cls) -> None:
        cls.__module__ = "tensorflow.python.framework.errors_impl"


class AbortedError(UnavailableError):
    pass


class DeadlineExceededError(UnavailableError):
    pass


class CancelledError(UnavailableError):
    pass


class ResourceExhaustedError(Exception):
    pass


class InternalError(UnavailableError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("shapes do not match"), FailureKind.USER),
        (KeyError("x"), FailureKind.USER),
        (RuntimeError("can't start new thread"), FailureKind.INFRASTRUCTURE),
        (SystemExit(0), FailureKind.USER),
        (KeyboardInterrupt(), FailureKind.USER),
        (ResourceExhaustedError("OOM when allocating"), FailureKind.USER),
        (DataError("train_dataset is empty"), FailureKind.SPEC),
        (JobNotFound("no such class"), FailureKind.SPEC),
        (NoLossError("no loss"), FailureKind.SPEC),
        (NotCompiledError("not compiled"), FailureKind.SPEC),
        (ParamsError("hidden", "0 is not allowed"), FailureKind.SPEC),
        (UnknownMetricError("no such metric"), FailureKind.SPEC),
        (UnavailableError("Socket closed"), FailureKind.PEER),
        (AbortedError("step aborted"), FailureKind.PEER),
        (DeadlineExceededError("too late"), FailureKind.PEER),
        (CancelledError("cancelled"), FailureKind.PEER),
        (InternalError("Collective ops is aborted by: ..."), FailureKind.PEER),
        (InternalError("failed to connect to all addresses; last error"), FailureKind.PEER),
        (InternalError("recvmsg: Connection reset by peer"), FailureKind.PEER),
        (InternalError("2 root error(s) found. (0) INTERNAL: Unable to parse request"), FailureKind.PEER),
        (InternalError("Could not start gRPC server"), FailureKind.ADDRESS_TAKEN),
        (OSError(98, "Address already in use"), FailureKind.USER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whose_fault_it_is(error: BaseException, kind: FailureKind) -> None:
    assert classify(error) is kind
    failure = describe(error, ASSIGNMENT)
    assert failure.kind is kind
    assert failure.task == ASSIGNMENT.task
    assert failure.summary.strip()
    assert pickle.loads(pickle.dumps(failure)) == failure


def raised_in(path: Path, lines: str, **given: object) -> BaseException:
    """What code in the file `path`, as a job's, raises."""
    code = compile(lines, str(path), "exec")
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
        exec(code, given)
    return caught.value


class CancelledFuture(Exception):  # noqa: N818 - named as concurrent.futures' is
    pass


CancelledFuture.__name__ = "CancelledError"
OPERATION = "{{function_node x}} Connection reset by peer [Op:CollectiveBcastRecvV2] name: "


UnavailableError.__module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnavailableError("the bucket does not answer"), FailureKind.USER),
        (AbortedError("the transaction failed"), FailureKind.USER),
        (CancelledFuture("the upload was cancelled"), FailureKind.USER),
        (ConnectionResetError("Connection reset by peer"), FailureKind.USER),
        (UnavailableError(OPERATION), FailureKind.PEER),
        (InternalError(OPERATION), FailureKind.PEER),
        (RuntimeError(f"{BROKEN_OFF}: worker:1 has ended"), FailureKind.PEER),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_the_users_own_code_raises_is_theirs_and_what_an_operation_raises_there_is_not(
    error: BaseException, kind: FailureKind, tmp_path: Path
) -> None:
    assert classify(raised_in(tmp_path / "mine.py", "raise error", error=error)) is kind


@pytest.mark.parametrize(
    ("task", "cluster", "kind"),
    [
        (Task("worker", 0), {"worker": ["a:1", "b:1"]}, FailureKind.PEER),
        (Task("worker", 0), {"worker": ["a:1"]}, FailureKind.USER),
        (Task("evaluator", 0), {"worker": ["a:1", "b:1"]}, FailureKind.USER),
    ],
)
def test_a_task_that_talks_to_no_other_loses_none(task: Task, cluster: dict[str, list[str]], kind: FailureKind) -> None:
    made = assignment(task, {"cluster": cluster, "task": {"type": task.type, "index": task.index}})
    assert describe(UnavailableError("the storage of the data does not answer"), made).kind is kind


def test_a_users_error_is_one_line_and_their_traceback(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text('def build():\n    raise ValueError("first line\\n\\nsecond line")\n')
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec is not None
    assert spec.loader is not None
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    with pytest.raises(ValueError, match="first line") as caught:
        mine.build()
    failure = describe(caught.value, ASSIGNMENT)
    assert failure.summary == "ValueError: first line"
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert f'File "{path}", line 2, in build' in failure.traceback
    assert failure.traceback.endswith("ValueError: first line\n\nsecond line\n")


def test_regattas_frames_before_the_users_are_left_out() -> None:
    """Raises from user code that `workers` calls: its frames come first, the user's follow."""
    from workers.training.schedule import CallTuner

    class Mine:
        def __mul__(self, _: object) -> object:
            raise RuntimeError("in the user's code")

        def __lt__(self, _: object) -> bool:
            return False

    with pytest.raises(RuntimeError) as caught:
        CallTuner(None).observe(Mine(), 1.0)  # type: ignore[arg-type]
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]  # this test's frame
    shown = user_traceback(caught.value)
    assert "schedule.py" not in shown
    assert "__mul__" in shown


def test_an_error_that_was_never_raised_has_no_frames() -> None:
    assert user_traceback(KeyError("x")) == "Traceback (most recent call last):\nKeyError: 'x'\n"


def test_a_failure_of_the_spec_has_no_traceback() -> None:
    failure = describe(DataError("train_dataset is empty: it yields no batch at all."), ASSIGNMENT)
    assert failure.summary == "train_dataset is empty: it yields no batch at all."
    assert failure.traceback == ""


@pytest.mark.parametrize("error", [ValueError(), ValueError(""), ValueError(" \n ")])
def test_an_error_without_a_message(error: ValueError) -> None:
    assert describe(error, ASSIGNMENT).summary == "ValueError: no message"


def test_a_cache_file_that_two_readers_share_has_a_hint() -> None:
    error = InternalError("There appears to be a concurrent caching iterator running - cache lockfile already exists")
    assert "--cache" in describe(error, ASSIGNMENT).hint


def test_a_device_out_of_memory_has_a_hint() -> None:
    assert "--batch-size" in describe(ResourceExhaustedError("OOM"), ASSIGNMENT).hint
    assert describe(ValueError("OOM"), ASSIGNMENT).hint == ""
