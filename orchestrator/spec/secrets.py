"""Secrets that a run's tasks are given by name: read from the driver's environment as tasks start, kept nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from orchestrator.errors import JobError, SpecError
from workers.masking import SHORTEST, Mask

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OURS = re.compile(r"PATH|HOME|TMPDIR|TF_CONFIG|TF_XLA_FLAGS|KERAS_BACKEND|(?:PYTHON|LD_|RAY_|REGATTA_).*")
MAX_BYTES = 16 << 10
"""Of all secrets together: they travel to a task with its environment."""


def check_names(names: Iterable[str]) -> None:
    """Refuse what is no name of a variable, or one that Regatta, Ray or TensorFlow set themselves."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError("give names of environment variables, not values: letters, digits and '_'")
        if _OURS.fullmatch(name):
            raise ValueError(f"{name} is no secret: every process needs it")


def values(names: Iterable[str]) -> dict[str, str]:
    """Name to value, from this process' environment.

    Raises:
        SpecError: there is no such variable, or its value is too short to be masked, or too long to be sent.
    """
    found = {}
    for name in names:
        value = os.environ.get(name)
        if value is None:
            raise SpecError(
                "env_secrets",
                f"there is no variable {name} in this environment, which the value is taken from: `export {name}=...`, "
                "and for a submitted run in the environment of `ray start` on the head",
            )
        if len(value) < SHORTEST:
            raise SpecError("env_secrets", f"{name} holds fewer than {SHORTEST} characters, too few to be kept secret")
        found[name] = value
    if (size := sum(len(os.fsencode(value)) for value in found.values())) > MAX_BYTES:
        raise SpecError("env_secrets", f"{size:,} bytes are too many: {MAX_BYTES:,} in all; give the path of a file")
    return found


def without(error: JobError, names: Iterable[str], environment: Mapping[str, str] = os.environ) -> JobError:
    """`error`, of a job that may have read the secrets, less their values."""
    mask = Mask({name: environment[name] for name in names if name in environment})
    return JobError(mask.text(error.message), mask.text(error.traceback), error.log)
