"""Slow workers as an experimental condition: how much longer each step takes, drawn from a seed and replayable.

A profile gives every worker and step a factor; before each step the worker sleeps `factor x step` seconds. It sleeps
instead of using CPU, so that more replicas than cores can be compared fairly. Synchronous training then takes the sum
over steps of the slowest worker's sleep, plus the steps themselves (`orchestrator.verdict.scaling.sync_seconds`);
asynchronous workers do not wait for each other. There the sleep comes between steps, not between a worker's read of the
weights and its update, so a profile slows workers down without making their gradients staler.

Profiles:

    none
    persistent:worker=1,factor=4        one worker is always slow
    transient:p=0.05,factor=10          any worker's step is slow now and then
    lognormal:sigma=0.3                 steps vary, as they do on shared machines
    trace:path=draws.csv                factors from a file: a line per step, a column per worker; repeated

All but `none` accept `step=0.02`, the seconds of a step at factor 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from workers.errors import ProfileError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULT_STEP_SECONDS = 0.02
"""Well above what a step of a small model takes, so that the profile, not the machine, decides the pace."""


@dataclass(frozen=True)
class Profile:
    """A parsed `--straggler` value."""

    kind: str
    settings: tuple[tuple[str, float], ...] = ()
    path: str = ""

    FIELDS: ClassVar[dict[str, dict[str, float | None]]] = {
        "none": {},
        "persistent": {"worker": 1, "factor": None, "step": DEFAULT_STEP_SECONDS},
        "transient": {"p": None, "factor": None, "step": DEFAULT_STEP_SECONDS},
        "lognormal": {"sigma": None, "step": DEFAULT_STEP_SECONDS},
        "trace": {"step": DEFAULT_STEP_SECONDS},
    }
    """Settings of each kind with their defaults; None if the setting is required."""

    @property
    def sleeps(self) -> bool:
        """Whether workers sleep before their steps."""
        return self.kind != "none"

    def get(self, name: str) -> float:
        return dict(self.settings)[name]

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Parse `text`.

        Raises:
            ProfileError: unknown kind, unknown or missing setting, or a value out of range.
        """
        kind, _, rest = text.strip().partition(":")
        if kind not in cls.FIELDS:
            raise ProfileError(f"there is no profile {kind!r}; profiles: {', '.join(cls.FIELDS)}")
        accepted = cls.FIELDS[kind]
        given: dict[str, float] = {}
        path = ""
        for part in filter(None, rest.split(",")):
            name, _, value = part.partition("=")
            if kind == "trace" and name == "path":
                path = value
                continue
            if name not in accepted:
                raise ProfileError(f"{kind} has no setting {name!r}; it takes: {', '.join(accepted) or 'none'}")
            if not re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", value):
                raise ProfileError(f"{name}={value!r} is not a number")
            given[name] = float(value)
        if kind == "trace" and not path:
            raise ProfileError("trace needs path=FILE")
        settings = {name: given.get(name, default) for name, default in accepted.items()}
        missing = [name for name, value in settings.items() if value is None]
        if missing:
            raise ProfileError(f"{kind} needs {', '.join(f'{name}=' for name in missing)}")
        known = {name: value for name, value in settings.items() if value is not None}
        _check_ranges(known)
        return cls(kind, tuple(known.items()), path)


def _check_ranges(settings: dict[str, float]) -> None:
    limits = {
        "factor": (1, 1000),
        "p": (0, 1),
        "sigma": (0, 3),
        "step": (0.001, 60),
        "worker": (0, 1023),
    }
    for name, value in settings.items():
        low, high = limits[name]
        if not low <= value <= high:
            raise ProfileError(f"{name}={value:g} is out of range: {low:g} to {high:g}")


class Pace:
    """How long one worker sleeps before each step; the same for a profile, seed and worker in every mode and run."""

    _BLOCK = 1024

    def __init__(self, profile: Profile, seed: int, worker: int) -> None:
        import numpy as np

        self._profile = profile
        self._worker = worker
        self._random = np.random.default_rng([seed, worker, 20_261_120])
        self._drawn: npt.NDArray[np.float64] = np.empty(0)
        self._next = 0
        self._trace = _read_trace(Path(profile.path), worker) if profile.kind == "trace" else None

    def seconds(self) -> float:
        """How long this worker sleeps before its next step. Draws the next factor."""
        return self.factor() * self._profile.get("step")

    def factor(self) -> float:
        """Draw the factor of the next step; 1 is an ordinary step."""
        if self._next == len(self._drawn):
            self._drawn, self._next = self._draw(), 0
        self._next += 1
        return float(self._drawn[self._next - 1])

    def factors(self, count: int) -> npt.NDArray[np.float64]:
        """Draw the factors of the next `count` steps: the values that as many calls of `factor` return."""
        import numpy as np

        parts = []
        while count > 0:
            if self._next == len(self._drawn):
                self._drawn, self._next = self._draw(), 0
            parts.append(self._drawn[self._next : self._next + count])
            self._next += len(parts[-1])
            count -= len(parts[-1])
        return np.concatenate(parts) if parts else np.empty(0)

    def _draw(self) -> npt.NDArray[np.float64]:
        import numpy as np

        profile, size = self._profile, self._BLOCK
        if self._trace is not None:
            return self._trace
        if profile.kind == "persistent":
            slow = int(profile.get("worker")) == self._worker
            return np.full(size, profile.get("factor") if slow else 1.0)
        if profile.kind == "transient":
            return np.where(self._random.random(size) < profile.get("p"), profile.get("factor"), 1.0)
        sigma = profile.get("sigma")
        return np.exp(self._random.normal(-sigma * sigma / 2, sigma, size))  # mean 1, whatever sigma


def _read_trace(path: Path, worker: int) -> npt.NDArray[np.float64]:
    import numpy as np

    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise ProfileError(f"the trace {path} cannot be read: {error}") from None
    if table.size == 0 or not np.isfinite(table).all() or (table <= 0).any():
        raise ProfileError(f"the trace {path} has to hold factors above 0, one line per step and one column per worker")
    column: npt.NDArray[np.float64] = table[:, worker % table.shape[1]]
    return column


def pace_of(profile_text: str, seed: int, worker: int) -> Pace | None:
    """The pace of one worker under a profile; None if the profile is `none`."""
    profile = Profile.parse(profile_text)
    return Pace(profile, seed, worker) if profile.sleeps else None
