"""A checkpoint's manifest: describes the checkpoint and carries the digests that verify it.

A manifest is untrusted input. It can refer to a fixed set of file names only, its numbers are bounded, and it contains
a digest of itself, so that edits are detected as well as truncated files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.checkpoints.errors import DamagedError

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
ARRAYS: Final = "arrays.npz"
MAX_BYTES = 32 << 20
"""Largest manifest accepted; that of a model with 100,000 variables takes 10 MiB."""
_LARGEST = 2**53

Number = Annotated[int, Field(ge=0, lt=_LARGEST, strict=True)]
Count = Annotated[int, Field(ge=1, lt=_LARGEST, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4096)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Frozen):
    size: Number
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Kind = Literal["weights", "optimizer", "outer", "gathered", "callbacks"]


class Array(_Frozen):
    """One entry of arrays.npz; entries are named by their position."""

    kind: Kind
    dtype: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    shape: Annotated[tuple[Number, ...], Field(max_length=64)]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Share(_Frozen):
    """The stored form of `workers.messages.Taken`."""

    workers: Annotated[int, Field(ge=1, le=65536, strict=True)]
    taken: tuple[Number, ...]

    @model_validator(mode="after")
    def _check_length(self) -> Share:
        if len(self.taken) != self.workers:
            raise ValueError(f"{self.workers} workers, but {len(self.taken)} counts of batches taken")
        return self


class Score(_Frozen):
    metric: Text
    value: Finite


class Manifest(_Frozen):
    """Content of a checkpoint, and the run, attempt and step it was taken at."""

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    run_id: Text
    attempt: Count
    """Number of the attempt that wrote the checkpoint."""
    step: Number
    samples: Number
    clock: Annotated[Finite, Field(ge=0)]
    """The run's clock, seconds."""
    seed: Number
    job: Text
    mode: Text
    workers: Annotated[int, Field(ge=1, le=65536, strict=True)]
    batch_size: Count
    schedule_scale: Finite = 1.0
    """Factor on the optimizer's learning-rate schedule."""
    position: tuple[Share, ...] = ()
    """Batches already taken from the data stream; empty for the best state, where they are unknown."""
    score: Score | None = None
    """Evaluation result of the best state; None for other checkpoints."""
    callbacks: Any = None
    """State of the Keras callbacks, in plain JSON."""
    arrays: tuple[Array, ...]
    files: Annotated[Mapping[Literal["arrays.npz"], File], Field(min_length=1)]
    """Only this name is accepted, so a manifest cannot point outside its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def to_bytes(manifest: Manifest) -> bytes:
    document = manifest.model_dump(mode="json", by_alias=True)
    return json.dumps(document | {"digest": _digest(document)}, indent=1, allow_nan=False).encode()


def from_bytes(data: bytes) -> Manifest:
    """Parse and validate a manifest.

    Raises:
        DamagedError: `data` is not a manifest, or was changed after it was written.
    """
    try:
        document = json.loads(data, parse_constant=_refuse)
        if not isinstance(document, dict):
            raise DamagedError(f"{MANIFEST} does not hold a mapping")
        digest = document.pop("digest", None)
        if digest != _digest(document):
            raise DamagedError(f"{MANIFEST} was edited: its content does not match its digest")
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise DamagedError(f"{MANIFEST} is not a valid manifest: {field[:100]}: {first['msg'][:200]}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read: {str(error)[:200]}") from None


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")
