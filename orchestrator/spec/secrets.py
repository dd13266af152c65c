"""Secrets for a run's tasks, given by name: read from the driver's environment when tasks start, stored nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import JobError, RegattaError, SpecError
from workers.masking import SHORTEST, Mask

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OURS = re.compile(r"PATH|HOME|TMPDIR|TF_CONFIG|TF_XLA_FLAGS|KERAS_BACKEND|(?:PYTHON|LD_|RAY_|REGATTA_).*")
MAX_BYTES = 16 << 10
"""Limit for all secrets together, because they are part of a task's environment."""
_WITH_USER = ("abfs", "abfss", "postgresql", "mysql", "mssql")  # whose URIs have something before an @ by design


def check_names(names: Iterable[str]) -> None:
    """Raises ValueError for an invalid variable name, or one that Regatta, Ray or TensorFlow set themselves."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError("give names of environment variables, not values: letters, digits and '_'")
        if _OURS.fullmatch(name):
            raise ValueError(f"{name} is not a secret: every process needs it")


def check_uri(uri: str) -> None:
    """Raises ValueError for a URI with a user's name or password in it."""
    scheme, mark, rest = uri.partition("://")
    if mark and "@" in rest.partition("/")[0] and scheme.partition("+")[0] not in _WITH_USER:
        known = "AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_PASSWORD, ..."
        raise ValueError(f"credentials belong in the environment ({known}), not in the URI")


def values(names: Iterable[str]) -> dict[str, str]:
    """Values of the named variables, from this process's environment.

    Raises:
        SpecError: a variable is not set, or its value is too short to be masked or too long to be sent.
    """
    found = {}
    for name in names:
        value = os.environ.get(name)
        if value is None:
            raise SpecError(
                "env_secrets",
                f"the environment variable {name} is not set: `export {name}=...` here, or for a submitted run in the "
                "environment of `ray start` on the head",
            )
        if len(value) < SHORTEST:
            raise SpecError("env_secrets", f"{name} has fewer than {SHORTEST} characters, too few to be masked in logs")
        found[name] = value
    if (size := sum(len(os.fsencode(value)) for value in found.values())) > MAX_BYTES:
        limit = f"the limit is {MAX_BYTES:,} for all secrets together"
        raise SpecError("env_secrets", f"{size:,} bytes are too many: {limit}; pass the path of a file instead")
    return found


def masked(error: RegattaError, names: Iterable[str]) -> RegattaError:
    """`error` with the values of the named secrets masked, which the job's code may have put there."""
    mask = _mask(names)
    if isinstance(error, JobError):
        return JobError(mask.text(error.message), mask.text(error.traceback), error.log)
    error.message = mask.text(error.message)
    error.args = (error.message,)
    return error


def check_params(params: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse params with a secret in them: they are stored with the run, and shown.

    Raises:
        SpecError: names the param.
    """
    mask = _mask(names)
    for name, value in params.items():
        text = repr(value)
        if mask.text(text) != text:
            raise SpecError(
                f"params.{name}",
                f"it contains a secret: {mask.text(text)}. Params are stored with the run, and shown; read the secret "
                "from the environment in `build_model` or `train_dataset` instead",
            )


def _mask(names: Iterable[str]) -> Mask:
    return Mask({name: os.environ[name] for name in names if name in os.environ})
