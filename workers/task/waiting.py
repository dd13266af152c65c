"""Says where a task's main thread waits, when the task is still not ready and its deadline is near."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.messages import Assignment, Waits
from workers.session import PACKAGES, say

_SHARE_OF_LAUNCH = 0.8
"""Share of the launch's seconds after which a task says where it is: late, but before the driver gives up."""


def say_if_late(assignment: Assignment, send: Callable[[Waits], None]) -> Callable[[], None]:
    """Send `Waits` when the deadline is near, with the whole stack in the log; returns a function that cancels that."""
    if assignment.ready_within is None:
        return lambda: None
    main = threading.main_thread().ident

    def tell() -> None:
        frame = sys._current_frames().get(main or 0)
        stack = traceback.extract_stack(frame)
        say(f"not ready yet. The main thread is at:\n{''.join(traceback.format_list(stack))}")
        send(Waits(assignment.task, where(stack)))

    timer = threading.Timer(_SHARE_OF_LAUNCH * assignment.ready_within, tell)
    timer.daemon = True
    timer.start()
    return timer.cancel


def where(stack: Sequence[traceback.FrameSummary]) -> str:
    """The job's own line, if one is on the stack, and the innermost function of any other code."""
    innermost = stack[-1]
    own = [frame for frame in stack if not _is_installed(frame.filename)]
    parts = [f"in {own[-1].name} ({Path(own[-1].filename).name}:{own[-1].lineno}: {own[-1].line})"] if own else []
    if not own or own[-1] is not innermost:
        parts.append(f"in {innermost.name} ({Path(innermost.filename).name}:{innermost.lineno})")
    return ", ".join(parts)


def _is_installed(filename: str) -> bool:
    """Whether a file is Regatta's, a library's or Python's, and not the job's."""
    path = Path(filename)
    ours = any(path.is_relative_to(PACKAGES / name) for name in ("workers", "orchestrator"))
    return ours or not path.is_absolute() or path.is_relative_to(sys.base_prefix) or "site-packages" in path.parts
