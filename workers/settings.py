"""The settings that replicas need: the part of a run's spec that crosses the wire whole.

`orchestrator.spec.run.RunSpec` adds the fields that only the driver uses. A field is written once: its type and limits
here, its docstring for the JSON Schema and `--help`, its `Flag` for the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, lt=2**53)]
"""A number of samples or steps; JSON readers hold no larger integer exactly."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Group = Literal["training", "data", "cluster", "faults", "output"]


@dataclass(frozen=True)
class Flag:
    """How a field of the spec is given on the command line."""

    group: Group
    """The heading that `--help` lists it under."""
    name: str = ""
    """`--target-metric` for a field of another name; the field's own name when empty."""
    metavar: str | None = None
    style: Literal["value", "pairs", "nested pairs", "list", "prices"] = "value"
    """How text becomes a value: as it is; KEY=VALUE, repeated; TYPE.KEY=VALUE, repeated; repeated; NAME=NUMBER,..."""
    default: str = ""
    """What `--help` shows where the default is None."""
    varies: bool = False
    """Whether `compare` takes a comma-separated list, and compares its values."""


class ReplicaSettings(BaseModel):
    """What a replica is told of a run; the same for every task of a worker group."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    job: Annotated[str, Field(min_length=1, max_length=4096)]
    """A built-in job's name, `path/file.py:Class` or `module:Class`."""
    directory: str = "."
    """Folder that the job's paths and modules are relative to."""
    params: Annotated[Mapping[str, Any], Flag("training", "--set", "KEY=VALUE", style="pairs")] = Field(
        default_factory=dict
    )
    """A param of the job; may be repeated."""
    mode: Annotated[str, Flag("training")] = "sync"
    """How workers combine their work."""

    batch_size: Annotated[Count, Flag("training", varies=True)] = 32
    """Samples per batch and replica."""
    samples: Annotated[Count | None, Flag("training", default="the job's own")] = None
    """Budget in training samples, which compare between modes."""
    epochs: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, Flag("training", default="the job's own, or 1")] = (
        None
    )
    """Budget in passes over the training data, instead of --samples."""
    target: Annotated[str | None, Flag("training", "--target", "METRIC>=NUMBER", default="the job's own, or none")] = (
        None
    )
    """Stop when an evaluation meets this, for example "val_accuracy>=0.95"."""
    eval_every: Annotated[Count | None, Flag("training", default="a twentieth of the budget")] = None
    """Samples between evaluations."""
    seed: Annotated[Seed, Flag("training")] = 0
    """Seed of the initial weights and of the data's order."""
    learning_rate: Annotated[
        Annotated[float, Field(gt=0, lt=1e6)] | None, Flag("training", default="the job's own")
    ] = None
    """Learning rate, instead of the one in the job's optimizer."""
    learning_rate_scale: Annotated[float, Field(gt=0, lt=1e6)] = 1.0
    """Factor on the learning rate; `--tune-lr` finds it."""
    steps_per_call: Annotated[Count | None, Flag("training", default="as many as take 100 ms")] = None
    """Training steps fused into one call."""
    mixed_precision: Annotated[bool, Flag("training")] = False
    """Compute in 16 bits and keep weights in 32: float16 where workers have GPUs, else bfloat16."""
    jit: Annotated[bool, Flag("training")] = False
    """Compile clusters of operations with XLA."""
    balance: Annotated[bool, Flag("training")] = False
    """Give faster workers more of each synchronous step's samples, measured at the start."""
    gradient_noise: Annotated[bool, Flag("training")] = False
    """Estimate the gradient noise scale, the batch size beyond which samples are wasted (sync, several workers)."""

    sharding: Annotated[Literal["auto", "data", "file", "off"], Flag("data")] = "auto"
    """How workers split the data: `auto` by batches unless the job does it, `data` by batches, `file` by input files,
    `off` gives everything to every worker."""
    cache: Annotated[bool, Flag("data")] = False
    """Keep batches in memory after the first epoch, in its order."""
    prefetch: Annotated[bool, Flag("data")] = True
    """Prepare batches ahead of the step that needs them."""

    gpus_per_worker: Annotated[Annotated[int, Field(ge=0, le=64)], Flag("cluster")] = 0
    """GPUs of each worker."""
    devices_per_replica: Annotated[Annotated[int, Field(ge=1, le=64)], Flag("cluster")] = 1
    """Devices that the job's model spreads its layers over; without GPUs they are logical CPUs."""
    straggler: Annotated[str, Flag("cluster", metavar="PROFILE")] = "none"
    """Slow workers as an experimental condition, such as persistent:worker=1,factor=4; see docs/comparison.md."""

    checkpoint_every: Annotated[Count | None, Flag("faults", default="by time only")] = None
    """Samples between checkpoints."""
    checkpoint_seconds: Annotated[Annotated[float, Field(ge=0, le=1e6)], Flag("faults")] = 30.0
    """Seconds between checkpoints; 0 for none by time."""
    checkpoint_keep: Annotated[Annotated[int, Field(ge=1, le=1000)], Flag("faults")] = 3
    """How many of the latest checkpoints to keep, besides the best."""

    monitor: Annotated[bool, Flag("output")] = True
    """Sample hosts and GPUs, time calls, and judge the loss."""
    sample_seconds: Annotated[Annotated[float, Field(ge=0.1, le=3600)], Flag("output")] = 1.0
    """Seconds between samples of a replica, its host and its GPUs."""

    @property
    def dtype_policy(self) -> str:
        """Keras' dtype policy. CPUs have fast instructions for bfloat16 only."""
        if not self.mixed_precision:
            return "float32"
        return "mixed_float16" if self.gpus_per_worker else "mixed_bfloat16"
