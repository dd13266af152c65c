"""Likely causes of each kind of finding, and remedies to try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from orchestrator.results import Finding

Kind = Literal["nan", "spike", "divergence", "plateau", "oscillation", "overfitting", "input_bound", "straggler"]


class Advice(NamedTuple):
    causes: tuple[str, ...]
    remedies: tuple[str, ...]


ADVICE: Mapping[Kind, Advice] = {
    "nan": Advice(
        (
            "learning rate too high",
            "log or division by zero in the loss",
            "float16 overflow",
            "bad input values",
        ),
        (
            "halve the learning rate",
            "clip gradients (clipnorm=1.0)",
            "check the data for NaN and infinities",
            "use loss scaling, bfloat16 or float32",
        ),
    ),
    "spike": Advice(
        ("an outlier batch", "learning rate near its limit", "stale gradients (async)", "corrupt samples"),
        (
            "clip gradients (clipnorm=1.0)",
            "lower the learning rate",
            "shuffle, and inspect the samples of that batch",
        ),
    ),
    "divergence": Advice(
        ("learning rate too high", "no warm-up", "staleness too large for this learning rate (async)"),
        (
            "halve the learning rate, or roll back with --on-instability rollback",
            "warm the learning rate up",
            "clip gradients (clipnorm=1.0)",
            "use fewer workers, or mode sync",
        ),
    ),
    "plateau": Advice(
        (
            "learning rate too low, or so high that the loss bounces",
            "inputs not normalised",
            "labels that do not match the inputs",
        ),
        (
            "raise or lower the learning rate by 3x to 10x",
            "normalise the inputs",
            "check the labels, the last activation and the loss function",
            "use a larger model",
        ),
    ),
    "oscillation": Advice(
        ("batch size too small", "learning rate too high", "stale gradients (async)", "data not shuffled"),
        (
            "raise the batch size",
            "lower the learning rate, or decay it",
            "shuffle with a larger buffer",
            "use fewer workers, or mode sync",
        ),
    ),
    "overfitting": Advice(
        ("the model memorises the training data", "too little data for its size", "trained too long"),
        (
            "regularise: weight decay, dropout",
            "use more data, or augmentation",
            "use a smaller model",
            "stop at the best evaluation",
        ),
    ),
    "input_bound": Advice(
        (
            "the input pipeline is slower than the model",
            "decoding or augmentation on too few cores",
            "slow storage",
            "each worker reads and maps the samples of all of them",
        ),
        (
            "let each worker read its own samples: context.shard(dataset) before the costly maps, or --sharding file",
            "use dataset.prefetch, map(..., num_parallel_calls=AUTOTUNE), interleave",
            "cache the dataset, or preprocess it once",
            "give each worker more CPUs",
        ),
    ),
    "straggler": Advice(
        ("a slower or shared host", "a throttled or busy GPU", "uneven shards", "a slow network link"),
        (
            "check that worker's CPU, GPU clock and temperature, and network",
            "move it to another host",
            "use mode async, which does not wait for the slowest worker",
        ),
    ),
}


def finding(kind: Kind, step: int | None, clock: float | None, symptom: str, evidence: str) -> Finding:
    """A finding with the causes and remedies of its kind."""
    causes, remedies = ADVICE[kind]
    return Finding(
        kind=kind, step=step, clock=clock, symptom=symptom, evidence=evidence, causes=causes, remedies=remedies
    )
