"""The part of a run's spec that replicas need and that is sent to them whole.

`orchestrator.spec.run.RunSpec` adds the fields that only the driver uses. Each field is defined once: type and limits,
its docstring for the JSON Schema and `--help`, and its `Flag` for the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, lt=2**53)]
"""A number of samples or steps; JSON readers cannot represent a larger integer exactly."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Group = Literal["training", "data", "cluster", "faults", "output"]


@dataclass(frozen=True)
class Flag:
    """How a field of the spec is given on the command line."""

    group: Group
    """The heading that `--help` lists it under."""
    name: str = ""
    """The flag, such as `--set`, if it is not the field's name."""
    metavar: str | None = None
    style: Literal["value", "pairs", "nested pairs", "list", "prices"] = "value"
    """How text becomes a value: as it is; repeated KEY=VALUE; repeated TYPE.KEY=VALUE; repeated; NAME=NUMBER,..."""
    default: str = ""
    """What `--help` shows if the default is None."""
    gives_away: str = ""
    """What its value would receive, or reveal: such a field counts in a file only if the user confirms it."""
    varies: bool = False
    """Whether `compare` accepts a comma-separated list and compares the values."""


class ReplicaSettings(BaseModel):
    """The settings of a run that its replicas need; the same for every task of a worker group."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    job: Annotated[str, Field(min_length=1, max_length=4096)]
    """A built-in job's name, `path/file.py:Class` or `module:Class`."""
    directory: str = "."
    """Folder that the job's paths and modules are relative to."""
    params: Annotated[Mapping[str, Any], Flag("training", "--set", "KEY=VALUE", style="pairs")] = Field(
        default_factory=dict
    )
    """A parameter of the job; repeatable."""
    files_apart: bool = False
    """A script's files go to the run's folder, because other runs of the script have files of the same names."""
    ends_at_fit: bool = False
    """The run is a script's earlier `fit`: what it leaves behind is kept, and the script does not go on."""
    mode: Annotated[str, Flag("training")] = "sync"
    """How workers combine their gradients."""

    batch_size: Annotated[Count, Flag("training", varies=True)] = 32
    """Samples per batch and replica."""
    samples: Annotated[Count | None, Flag("training", default="the job's own")] = None
    """Number of training samples; comparable between modes, unlike steps."""
    epochs: Annotated[Annotated[float, Field(gt=0, le=1e9)] | None, Flag("training", default="the job's own, or 1")] = (
        None
    )
    """Passes over the training data, instead of --samples."""
    target: Annotated[str | None, Flag("training", "--target", "METRIC>=NUMBER", default="the job's own, or none")] = (
        None
    )
    """Stop when an evaluation reaches this, for example "val_accuracy>=0.95"."""
    eval_every: Annotated[Count | None, Flag("training", default="a twentieth of the training samples")] = None
    """Training samples between evaluations."""
    eval_steps: Annotated[Count | None, Flag("training", default="all of the evaluation data")] = None
    """Batches of an evaluation, for evaluation data that never end."""
    seed: Annotated[Seed, Flag("training")] = 0
    """Seed of the initial weights and of the order of the data."""
    learning_rate: Annotated[
        Annotated[float, Field(gt=0, lt=1e6)] | None, Flag("training", default="the job's own")
    ] = None
    """Learning rate, instead of the one in the job's optimizer."""
    learning_rate_scale: Annotated[float, Field(gt=0, lt=1e6)] = 1.0
    """Factor on the learning rate; `--tune-lr` finds it."""
    steps_per_call: Annotated[Count | None, Flag("training", default="as many as take 100 ms")] = None
    """Training steps fused into one call."""
    mixed_precision: Annotated[bool, Flag("training")] = False
    """Compute in 16 bits with 32-bit weights: float16 on GPUs, bfloat16 on CPUs."""
    jit: Annotated[bool, Flag("training")] = False
    """Compile with XLA (auto-clustering)."""
    balance: Annotated[bool, Flag("training")] = False
    """Give faster workers more samples of each synchronous step; speeds are measured at the start."""
    gradient_noise: Annotated[bool, Flag("training")] = False
    """Estimate the gradient noise scale, the batch size beyond which samples are wasted (sync, several workers)."""

    sharding: Annotated[Literal["auto", "data", "file", "off"], Flag("data")] = "auto"
    """How data is split among workers: `data` by batches, `file` by input files, `auto` by batches unless the job does
    it itself, `off` not at all (every worker reads everything)."""
    cache: Annotated[bool, Flag("data")] = False
    """Keep batches in memory after the first epoch, and repeat them in the same order."""
    prefetch: Annotated[bool, Flag("data")] = True
    """Prepare batches while earlier steps run."""

    gpus_per_worker: Annotated[Annotated[int, Field(ge=0, le=64)], Flag("cluster")] = 0
    """GPUs per worker."""
    devices_per_replica: Annotated[Annotated[int, Field(ge=1, le=64)], Flag("cluster")] = 1
    """Devices that the job's model spreads its layers over; without GPUs, logical CPUs."""
    straggler: Annotated[str, Flag("cluster", metavar="PROFILE")] = "none"
    """Slow workers on purpose, for example persistent:worker=1,factor=4; see docs/comparison.md."""

    checkpoint_every: Annotated[Count | None, Flag("faults", default="by time only")] = None
    """Training samples between checkpoints."""
    checkpoint_seconds: Annotated[Annotated[float, Field(ge=0, le=1e6)], Flag("faults")] = 30.0
    """Seconds between checkpoints; 0 turns this off."""
    checkpoint_keep: Annotated[Annotated[int, Field(ge=1, le=1000)], Flag("faults")] = 3
    """Number of latest checkpoints to keep, besides the best one."""

    monitor: Annotated[bool, Flag("output")] = True
    """Sample host and GPU use, measure where step time goes, and watch the loss."""
    sample_seconds: Annotated[Annotated[float, Field(ge=0.1, le=3600)], Flag("output")] = 1.0
    """Seconds between samples of a replica's host and GPU use."""

    @property
    def dtype_policy(self) -> str:
        """Keras' dtype policy. On CPUs only bfloat16 has fast instructions."""
        if not self.mixed_precision:
            return "float32"
        return "mixed_float16" if self.gpus_per_worker else "mixed_bfloat16"
