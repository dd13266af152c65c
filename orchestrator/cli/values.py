"""Values of command-line flags that hold several: settings by name, and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.errors import SpecError, UsageError


def parse_settings(settings: Sequence[str], flag: str = "--set") -> dict[str, str]:
    """Parse `["hidden=64"]` into `{"hidden": "64"}`; the job converts values to their types."""
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag}: {setting!r} is not allowed: write it as name=value, for example hidden=64")
        pairs[name.strip()] = value
    return pairs


def nested(settings: Mapping[str, str], flag: str) -> dict[str, dict[str, str]]:
    """Turn `{"ps.cpu": "2"}` into `{"ps": {"cpu": "2"}}`."""
    found: dict[str, dict[str, str]] = {}
    for key, value in settings.items():
        outer, dot, inner = key.partition(".")
        if not dot:
            example = "write it as ps.cpu=2 or worker.memory_gib=4"
            raise UsageError(f"{flag}: {key}={value} is not allowed: {example}")
        found.setdefault(outer, {})[inner] = value
    return found


def parse_seeds(text: str) -> int | tuple[int, ...]:
    """Parse `5` as a number of seeds, `5,` and `0,1,2` as the seeds themselves."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SpecError("seeds", f"{text!r} is not allowed: give a number of seeds (5) or a list (0,1,2)") from None
    if not numbers or min(numbers) < 0 or ("," not in text and numbers[0] < 1):
        raise SpecError("seeds", f"{text!r} is not allowed: give at least one seed, none negative")
    return tuple(numbers) if "," in text else numbers[0]
