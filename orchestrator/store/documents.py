"""Result documents as JSON that every reader takes, and back."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.errors import UsageError
from orchestrator.text import UNSEEN

_Document = TypeVar("_Document", bound=BaseModel)
_BEYOND_ASCII = re.compile(r"[^\x20-\x7e\n]")


def to_text(document: Any, indent: int | None = None) -> str:
    """JSON; infinities and NaN, which JSON has no numbers for, as strings that pydantic reads back as floats.

    Letters of all scripts stay as they are; what a terminal would obey, or UTF-8 cannot hold, is escaped.
    """
    text = json.dumps(_spelled(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return _BEYOND_ASCII.sub(_escaped, text)


def read_text(path: Path) -> str:
    """The text of file `path`, in UTF-8.

    Raises:
        OSError: it cannot be read, or is a pipe, whose other end would be waited for.
        ValueError: it is no text.
    """
    if path.is_fifo():
        raise OSError("it is a pipe, whose other end would be waited for")
    return path.read_text(encoding="utf-8")


def load(model: type[_Document], path: Path) -> _Document:
    """The document in file `path`.

    Raises:
        UsageError: there is none, or it is not of this kind.
    """
    try:
        return model.model_validate(json.loads(read_text(path)))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} holds no {path.name}: it is not the folder of a finished run.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise UsageError(f"{path} is not one of Regatta's: {field}: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return json.dumps(character)[1:-1] if unicodedata.category(character) in UNSEEN else character


def _spelled(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {key: _spelled(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_spelled(value) for value in document]
    if isinstance(document, float) and not math.isfinite(document):
        return "NaN" if math.isnan(document) else "Infinity" if document > 0 else "-Infinity"
    return document
