"""A whole `compare` of 2 modes x 5 seeds, against as many runs of Ray Train."""

from __future__ import annotations

from benchmarks.contenders.ray_train import RayTrain
from benchmarks.contenders.regatta import Regatta
from benchmarks.figures import Session
from benchmarks.machine import load, missing
from benchmarks.records import Claim
from benchmarks.workload import TINY_MLP

FIGURE = "10 runs, command to end"
SEEDS, RUNS, MEASURED = 5, 10, 3
OURS = f"Regatta compare, 2 modes x {SEEDS} seeds"
THEIRS = f"Ray Train, 10 runs on one started Ray (the 2nd to {MEASURED}rd measured, extrapolated)"

CLAIMS = (Claim("whole comparison, 10 runs", FIGURE, OURS, (THEIRS,), 0.15, "most", "less"),)


def compare(session: Session) -> None:
    """Measure ten runs of half the tiny budget. Ray Train: the first run and Ray's start, plus 9 times a later mean."""
    workload = TINY_MLP.scaled(0.5 * session.scale)
    peer = RayTrain(20)
    for repetition in range(session.repetitions):
        session.timed(FIGURE, OURS, "s", repetition, lambda: Regatta.compare(workload, SEEDS))
        if missing(peer.needs):
            continue
        before = load()
        totals = [trained.total for trained in peer.train_often(workload, MEASURED)]
        later = sum(totals[1:]) / (MEASURED - 1)
        session.add(FIGURE, THEIRS, "s", repetition, totals[0] + (RUNS - 1) * later, before)
