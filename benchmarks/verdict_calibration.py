"""Measures what docs/statistics.md claims: coverage of the intervals, and error rates of the verdict.

    python benchmarks/verdict_calibration.py [repetitions]      (2,000 take about a minute on one core)

Simulated results only; nothing is trained.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from orchestrator.results import RunResult, Seconds, TargetResult, Throughput
from orchestrator.verdict import judge
from orchestrator.verdict.statistics import Estimate, equivalence, geometric_mean_ratio, paired_difference

Draw = Callable[[int], Any]


def coverage(repetitions: int) -> None:
    """Share of intervals that hold the truth, and their mean width on the log scale."""
    rng = np.random.default_rng(1)
    noise: dict[str, Draw] = {
        "normal": rng.standard_normal,
        "skewed (exponential)": lambda n: rng.exponential(size=n) - 1,
        "heavy tails (t, 3 df)": lambda n: rng.standard_t(3, n),
        "10 % outliers (5 sd)": lambda n: rng.standard_normal(n) * np.where(rng.random(n) < 0.1, 5, 1),
    }
    print("95 % interval of a geometric mean ratio: coverage (mean width)")
    for name, draw in noise.items():
        row = []
        for n in (3, 4, 5, 7, 8, 10):
            held, width = 0, 0.0
            for _ in range(repetitions):
                e = geometric_mean_ratio(list(np.exp(0.1 * draw(n))), [1.0] * n)
                assert e.low is not None
                assert e.high is not None
                held += e.low <= 1 <= e.high
                width += math.log(e.high / e.low)
            row.append(f"n={n}: {held / repetitions:.3f} ({width / repetitions:.2f})")
        print(f"  {name:24}", "  ".join(row))


def tost(repetitions: int) -> None:
    """Print how often TOST (0.5 points) says equal if the true difference is the margin itself, and if it is 0."""
    rng = np.random.default_rng(2)
    for true in (0.005, 0.0):
        for sd in (0.002, 0.004):
            rates = []
            for n in (3, 5, 10):
                said = 0
                for _ in range(repetitions):
                    p = equivalence(list(true + sd * rng.standard_normal(n)), [0.0] * n, 0.005)
                    said += p is not None and p < 0.05
                rates.append(f"n={n}: {said / repetitions:.3f}")
            print(f"TOST says equal, true difference {100 * true} points, sd {100 * sd}:", "  ".join(rates))


def welch_and_student(repetitions: int) -> None:
    rng = np.random.default_rng(3)
    for n in (3, 5, 10):
        held = 0
        for _ in range(repetitions):
            e: Estimate = geometric_mean_ratio(
                list(np.exp(0.1 * rng.standard_normal(n))),
                list(np.exp(0.3 * rng.standard_normal(n))),
                paired=False,
            )
            assert e.low is not None
            assert e.high is not None
            held += e.low <= 1 <= e.high
        d = [paired_difference(list(rng.standard_normal(n)), [0.0] * n) for _ in range(repetitions)]
        inside = sum(e.low is not None and e.high is not None and e.low <= 0 <= e.high for e in d)
        print(f"n={n}: unpaired ratio {held / repetitions:.3f}, paired difference {inside / repetitions:.3f}")


def simulated(mode: str, seed: int, seconds: float, accuracy: float, missed: bool = False) -> RunResult:
    target = TargetResult(
        metric="val_accuracy", op=">=", value=0.95, reached=not missed, seconds=None if missed else seconds
    )
    return RunResult(
        run_id=f"{mode}-{seed}",
        job="simulated",
        mode=mode,
        seed=seed,
        status="succeeded",
        tasks={"worker": 1} if mode == "v0" else {"worker": 2},
        samples=10_000,
        seconds=Seconds(training=1.5 * seconds),
        throughput=Throughput(samples_per_s=10_000 / (1.5 * seconds)),
        target=target,
        final={"val_accuracy": accuracy},
    )


def verdicts(repetitions: int) -> None:
    """Print how often each verdict is reached, for true ratios from A/A to a 3x difference."""
    rng = np.random.default_rng(4)
    cases: list[tuple[str, int, int, float, float, float]] = [
        # name, seeds, variants besides the baseline, true ratio, noise, share of misses
        ("A/A", 3, 1, 1.0, 0.1, 0.0),
        ("A/A", 5, 1, 1.0, 0.1, 0.0),
        ("A/A", 10, 1, 1.0, 0.1, 0.0),
        ("A/A, 30 % noise", 5, 1, 1.0, 0.3, 0.0),
        ("A/A/A", 5, 2, 1.0, 0.1, 0.0),
        ("A/A/A, 30 % of runs miss", 5, 2, 1.0, 0.1, 0.3),
        ("A/A/A/A", 5, 3, 1.0, 0.1, 0.0),
        ("A/A, 30 % of runs miss", 5, 1, 1.0, 0.1, 0.3),
        ("1.3x", 5, 1, 1.3, 0.1, 0.0),
        ("1.5x", 5, 1, 1.5, 0.1, 0.0),
        ("2x", 3, 1, 2.0, 0.1, 0.0),
        ("2x", 5, 1, 2.0, 0.1, 0.0),
        ("3x", 3, 1, 3.0, 0.1, 0.0),
        ("2x and 2x", 5, 2, 2.0, 0.1, 0.0),
    ]
    for name, seeds, others, ratio, noise, misses in cases:
        none = right = held = decided = 0
        for _ in range(repetitions):
            groups = {
                f"v{k}": [
                    simulated(
                        f"v{k}",
                        seed,
                        100 / (ratio if k else 1) * math.exp(noise * rng.standard_normal()),
                        0.96 + 0.003 * rng.standard_normal(),
                        bool(rng.random() < misses),
                    )
                    for seed in range(seeds)
                ]
                for k in range(others + 1)
            }
            verdict = judge(groups, "v0")
            none += verdict.winner is None
            assert verdict.distributing is not None
            decided += verdict.distributing.worth_it is not None
            right += verdict.winner == "v1"
            ratio_interval = verdict.answers[0].ratio  # None if every run missed
            low, high = (ratio_interval.low, ratio_interval.high) if ratio_interval else (None, None)
            held += low is not None and high is not None and low <= 1 <= high
        print(
            f"{name:24} {seeds:2} seeds: no winner {none / repetitions:.4f}, v1 {right / repetitions:.4f},"
            f" distributing decided {decided / repetitions:.4f},"
            f" interval of the first ratio contains 1 {held / repetitions:.4f}"
        )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    coverage(count)
    welch_and_student(count)
    tost(count)
    verdicts(count)
