"""A checkpoint's manifest: what the checkpoint is, and how to know that it is whole.

A manifest may come from anywhere. Names in it are a fixed few, numbers are bounded, and the manifest carries a
digest of itself, so that an edit is seen as well as a torn file is.
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
"""Of a manifest: a model of 100,000 variables has one of 10 MiB."""
_LARGEST = 2**53

Number = Annotated[int, Field(ge=0, lt=_LARGEST, strict=True)]
Count = Annotated[int, Field(ge=1, lt=_LARGEST, strict=True)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4096)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Frozen):
    size: Number
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Array(_Frozen):
    """One entry of arrays.npz; entries are named by their place."""

    kind: Literal["weights", "optimizer", "callbacks"]
    dtype: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    shape: Annotated[tuple[Number, ...], Field(max_length=64)]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Share(_Frozen):
    """As `workers.messages.Taken`."""

    workers: Annotated[int, Field(ge=1, le=65536, strict=True)]
    taken: tuple[Number, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Share:
        if len(self.taken) != self.workers:
            raise ValueError(f"{self.workers} workers, and what {len(self.taken)} have taken")
        return self


class Score(_Frozen):
    metric: Text
    value: Real


class Manifest(_Frozen):
    """What a checkpoint holds, and of which moment of which run."""

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    run_id: Text
    attempt: Count
    """Life of the run's worker group that wrote it."""
    step: Number
    samples: Number
    clock: Annotated[Real, Field(ge=0)]
    """Training clock, seconds."""
    seed: Number
    job: Text
    mode: Text
    workers: Annotated[int, Field(ge=1, le=65536, strict=True)]
    batch_size: Count
    schedule_scale: Real = 1.0
    """Factor on the optimizer's learning-rate schedule."""
    position: tuple[Share, ...] = ()
    """What was taken of the stream of batches; of the best state nobody knows."""
    score: Score | None = None
    """The evaluator's, of the best state."""
    callbacks: Any = None
    """What the callbacks remember, in plain JSON."""
    arrays: tuple[Array, ...]
    files: Annotated[Mapping[Literal["arrays.npz"], File], Field(min_length=1)]
    """No name but these can be written down here, so none can lead out of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def to_bytes(manifest: Manifest) -> bytes:
    document = manifest.model_dump(mode="json", by_alias=True)
    return json.dumps(document | {"digest": _digest(document)}, indent=1, allow_nan=False).encode()


def from_bytes(data: bytes) -> Manifest:
    """The manifest in `data`.

    Raises:
        DamagedError: it is none, or was changed after it was written.
    """
    try:
        document = json.loads(data, parse_constant=_refuse)
        if not isinstance(document, dict):
            raise DamagedError(f"{MANIFEST} holds no mapping")
        digest = document.pop("digest", None)
        if digest != _digest(document):
            raise DamagedError(f"{MANIFEST} was edited: it does not have the digest that it tells")
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise DamagedError(f"{MANIFEST} is not one of Regatta's: {field[:100]}: {first['msg'][:200]}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read: {str(error)[:200]}") from None


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON's")
