"""Patterns of files beside a job, for `--include`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _stays_inside(pattern: str) -> str:
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/") or not pattern.isprintable():
        raise ValueError("a path or a pattern inside of the job's folder is, such as data.csv or data/*.csv")
    return pattern


Pattern = Annotated[str, AfterValidator(_stays_inside)]
