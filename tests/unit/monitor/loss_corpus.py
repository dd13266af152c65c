"""A labelled corpus of loss curves: healthy training, and training with each fault that the detector should find.

It was written before the detector, without regard to its rules: a curve is `trend(t) * (1 + noise(t))`, to which
a fault is added. The seed determines everything. `sigma` is the standard deviation of the noise at each step, in
units of the loss, and the unit of a spike's size: a five-sigma spike peaks five sigma above the trend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FAMILIES = (
    "clean",
    "noisy",
    "sync",
    "async",
    "lr_drop",
    "slow",
    "spiky",
    "diverging",
    "plateau",
    "nan",
)
HEALTHY = ("clean", "noisy", "sync", "async", "lr_drop", "slow")
"""Families in which every finding is a false alarm."""


@dataclass(frozen=True)
class Spike:
    start: int
    length: int
    sigmas: float


@dataclass(frozen=True)
class Curve:
    family: str
    seed: int
    noise: str
    losses: Floats
    sigma: Floats
    spikes: tuple[Spike, ...] = ()
    diverges_at: int | None = None
    growth: float | None = None
    """Rise of the log loss per step where the divergence starts."""
    stuck_from: int | None = None
    nan_at: int | None = None


def corpus(per_family: int, first_seed: int) -> Iterator[Curve]:
    for family_index, family in enumerate(FAMILIES):
        for index in range(per_family):
            yield curve(family, first_seed + 1000 * family_index + index)


def curve(family: str, seed: int) -> Curve:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1500, 4000))
    trend = _trend(family, length, rng)
    kind, noise, sigma = _noise(family, length, rng)
    healthy = Curve(family, seed, kind, np.maximum(trend * (1 + noise), 0.02 * trend), sigma * trend)
    if family == "spiky":
        return _spikes(healthy, trend, rng)
    if family == "diverging":
        return _divergence(healthy, rng)
    if family == "nan":
        return _nan(healthy, rng)
    if family == "plateau":
        return replace(healthy, stuck_from=int(np.argmax(trend <= trend[-1] * 1.01)))
    return healthy


def _trend(family: str, length: int, rng: np.random.Generator) -> Floats:
    """A fall from between 0.3 and 12 to a floor, along one of the shapes typical of training."""
    t = np.arange(length, dtype=np.float64)
    start = float(np.exp(rng.uniform(np.log(0.3), np.log(12))))
    floor = rng.uniform(0.01, 0.35)
    tau = float(np.exp(rng.uniform(np.log(60), np.log(length / 3))))
    if family == "plateau":
        floor, tau = rng.uniform(0.75, 1.0), rng.uniform(20, 100)
    if family == "slow":
        tau = length * rng.uniform(0.8, 3)
    shape = str(rng.choice(["exponential", "power", "late"])) if family != "plateau" else "exponential"
    if shape == "exponential":
        fall = np.exp(-t / tau)
    elif shape == "power":
        fall = (1 + t / (tau / 4)) ** -rng.uniform(0.3, 1.2)
    else:  # flat at first
        onset = rng.uniform(0, 250)
        fall = (1 + np.exp(-onset / tau * 4)) / (1 + np.exp((t - onset) / tau * 4))
        fall = 0.7 * fall + 0.3 * np.exp(-t / length)
    trend = start * (floor + (1 - floor) * fall)
    if family == "lr_drop":
        for drop in np.sort(rng.integers(300, length, size=int(rng.integers(1, 4)))):
            settle = 1 - np.exp(-np.maximum(t - drop, 0) / rng.uniform(1, 15))
            trend = trend * (1 - rng.uniform(0.2, 0.7) * settle)
    return np.asarray(trend, dtype=np.float64)


def _noise(family: str, length: int, rng: np.random.Generator) -> tuple[str, Floats, Floats]:
    """Relative noise of mean 0 and its standard deviation at each step."""
    low, high = {
        "clean": (0.0005, 0.01),
        "noisy": (0.05, 0.3),
        "sync": (0.01, 0.1),
        "async": (0.03, 0.25),
    }.get(family, (0.01, 0.2))
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    kind = "gaussian"
    if family not in ("clean", "sync"):
        kind = str(rng.choice(["gaussian", "minibatch", "student"]))
    if kind == "gaussian":
        unit = rng.standard_normal(length)
    elif kind == "minibatch":  # mean of a batch of exponential per-sample losses: skewed to the right
        batch = max(4.0, scale**-2)
        unit = (rng.gamma(batch, size=length) - batch) / np.sqrt(batch)
    else:
        freedom = rng.uniform(8, 20)
        unit = rng.standard_t(freedom, size=length) / np.sqrt(freedom / (freedom - 2))
    if family == "async":  # stale updates: noise is correlated over a few steps, and workers differ
        memory = rng.uniform(0, 0.5)
        for i in range(1, length):
            unit[i] = memory * unit[i - 1] + np.sqrt(1 - memory**2) * unit[i]
        workers = int(rng.integers(2, 9))
        offsets = rng.normal(0, 0.5, workers)
        mixed = unit + (offsets - offsets.mean())[rng.integers(0, workers, length)]
        unit = mixed / mixed.std()
    t = np.linspace(0, 1, length)
    drift = np.exp(rng.uniform(-0.7, 0.7) * t)  # the noise of a batch grows or shrinks as the model learns
    ripple = 1 + rng.uniform(0, 0.3) * np.sin(2 * np.pi * t * length / rng.uniform(100, 600))  # epochs
    sigma = np.minimum(scale * drift * ripple, 0.35)
    return kind, sigma * unit, sigma


def _spikes(base: Curve, trend: Floats, rng: np.random.Generator) -> Curve:
    losses, spikes = base.losses.copy(), []
    position = 150 + int(rng.integers(0, 150))
    while position < len(losses) - 50:
        length = int(rng.choice([1, 1, 1, 2, 4, 10]))
        sigmas = float(np.exp(rng.uniform(np.log(5), np.log(40))))
        decay = np.exp(-np.arange(length) / max(1.0, length / 2))
        losses[position] = trend[position]
        losses[position : position + length] += sigmas * base.sigma[position : position + length] * decay
        spikes.append(Spike(position, length, sigmas))
        position += length + int(rng.integers(100, 500))
    return replace(base, losses=losses, spikes=tuple(spikes))


def _divergence(base: Curve, rng: np.random.Generator) -> Curve:
    losses = base.losses.copy()
    start = int(rng.integers(200, len(losses) - 200))
    growth = float(np.exp(rng.uniform(np.log(0.02), np.log(0.3))))
    since = np.arange(len(losses) - start, dtype=np.float64)
    shape = rng.choice(["exponential", "linear"])
    rise = np.exp(np.minimum(growth * since, 200)) if shape == "exponential" else 1 + growth * since
    losses[start:] *= rise
    return replace(base, losses=losses, diverges_at=start, growth=growth)


def _nan(base: Curve, rng: np.random.Generator) -> Curve:
    losses = base.losses.copy()
    at = int(rng.integers(0, len(losses)))
    value = rng.choice([np.nan, np.inf])
    losses[at : at + int(rng.choice([1, 5, len(losses)]))] = value
    return replace(base, losses=losses, nan_at=at)


def sgd_run(seed: int, steps: int = 2500) -> Floats:
    """Losses of a real run: a two-layer network, momentum SGD, cross-entropy, shuffled in every epoch.

    Nothing here is modelled on the detector: the noise, its tail, its growth relative to the falling loss and
    its correlation are those of SGD. Even seeds have few samples, which the network memorises.
    """
    rng = np.random.default_rng(seed)
    features, classes, hidden = 20, 5, 32
    count = 300 if seed % 2 == 0 else 4000
    centres = rng.normal(size=(classes, features))
    labels = rng.integers(0, classes, count)
    inputs = centres[labels] + rng.normal(size=(count, features)) * rng.uniform(0.8, 1.6)
    batch = int(rng.choice([8, 16, 32, 64, 128]))
    rate = float(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))
    weights = [
        rng.normal(size=(features, hidden)) / np.sqrt(features),
        rng.normal(size=(hidden, classes)) / np.sqrt(hidden),
    ]
    velocity = [np.zeros_like(w) for w in weights]
    losses, order = np.empty(steps), np.empty(0, dtype=np.int64)
    for step in range(steps):
        if len(order) < batch:
            order = rng.permutation(count)
        rows, order = order[:batch], order[batch:]
        hidden_out = np.maximum(inputs[rows] @ weights[0], 0)
        logits = hidden_out @ weights[1]
        logits -= logits.max(axis=1, keepdims=True)
        likelihood = np.exp(logits)
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        losses[step] = -np.mean(np.log(likelihood[np.arange(batch), labels[rows]] + 1e-30))
        likelihood[np.arange(batch), labels[rows]] -= 1
        likelihood /= batch
        back = (likelihood @ weights[1].T) * (hidden_out > 0)
        for i, gradient in enumerate((inputs[rows].T @ back, hidden_out.T @ likelihood)):
            velocity[i] = 0.9 * velocity[i] - rate * gradient
            weights[i] += velocity[i]
    return losses
