"""Result documents as strict JSON text, and back."""

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
from orchestrator.store.versions import other_version
from orchestrator.text import UNSEEN
from workers import files

_Document = TypeVar("_Document", bound=BaseModel)
MAX_BYTES = 64 << 20
"""More than the comparison.json of a thousand runs."""
_BEYOND_ASCII = re.compile(r"[^\x20-\x7e\n]")


def to_text(document: Any, indent: int | None = None) -> str:
    """Strict JSON text; infinities and NaN become strings, which pydantic reads back as floats.

    Letters of all scripts are kept; control characters and lone surrogates are escaped.
    """
    text = json.dumps(_with_finite_numbers(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return _BEYOND_ASCII.sub(_escaped, text)


def read_text(path: Path) -> str:
    """The text of the UTF-8 file `path` in the folder of a run, which may come from a stranger.

    Raises:
        OSError: the file cannot be read, is larger than `MAX_BYTES`, or is no regular file; links are not followed.
        ValueError: it is not UTF-8.
    """
    return files.read(path, MAX_BYTES).decode("utf-8")


def load(model: type[_Document], path: Path) -> _Document:
    """The document of type `model` in file `path`.

    Raises:
        UsageError: there is no such file, or it is not such a document.
    """
    try:
        return model.model_validate(json.loads(read_text(path)))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} is not the folder of a finished run: it holds no {path.name}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise UsageError(
            f"{path} was not written by this version of Regatta: {field}: {first['msg']}.{other_version(path.parent)}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return json.dumps(character)[1:-1] if unicodedata.category(character) in UNSEEN else character


def _with_finite_numbers(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {key: _with_finite_numbers(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_with_finite_numbers(value) for value in document]
    if isinstance(document, float) and not math.isfinite(document):
        return "NaN" if math.isnan(document) else "Infinity" if document > 0 else "-Infinity"
    return document
