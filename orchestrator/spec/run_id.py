"""Which names a run may have, and a project of Weights & Biases."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RUN_ID_WORDS = "letters, digits, '.', '_' and '-' only, starting with a letter or digit, up to 100"
Project = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,127})?$")]
"""`PROJECT` or `ENTITY/PROJECT`."""


def is_run_id(text: str) -> bool:
    """Whether `text` is a valid run id: usable as a folder name and in a shell without quotes."""
    return _RUN_ID.fullmatch(text) is not None
