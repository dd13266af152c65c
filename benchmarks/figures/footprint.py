"""Regatta's overhead: per launched replica, in the driver, in memory."""

from __future__ import annotations

from benchmarks.child import Child
from benchmarks.contenders.regatta import Regatta
from benchmarks.figures import Session, slope
from benchmarks.machine import load
from benchmarks.records import Claim
from benchmarks.workload import TINY_MLP

LAUNCH = "launch cost per extra replica"
DRIVER = "CPU per replica while training, of one core"
FAKES = "200 fake replicas, real coordinator"
MEMORY = "peak memory per replica"
PLAIN = "import tensorflow, keras"
COUNTS = (2, 4, 8, 12)
MODES = ("sync", "async")
FAKE_REPLICAS = 200

CLAIMS = (
    *(
        Claim(f"an extra replica, {mode}, in imports of TensorFlow", LAUNCH, f"Regatta {mode}", (PLAIN,), 1, "most")
        for mode in MODES
    ),
    *(Claim(f"driver, {mode}, % of a core", DRIVER, f"driver, {mode}", (), 0.5, "most") for mode in MODES),
    Claim("200 fake replicas, driver, % of a core each", FAKES, "CPU per replica, async", (), 0.5, "most"),
    Claim("200 fake replicas, share of time at work", FAKES, "share of time at work, async", (), 1.0, "most"),
    *(
        Claim(f"peak {kind} of a {mode} worker", f"{MEMORY}, {kind}", f"worker, {mode}", (PLAIN,), 1.15, "most")
        for kind in ("PSS", "RSS")
        for mode in MODES
    ),
)


def launch(session: Session) -> None:
    """Measure the seconds from launch to all tasks ready for 2 to 12 workers, and the slope of a line through them."""
    workload = TINY_MLP.scaled(0.05)
    for repetition in range(session.repetitions):
        session.timed(LAUNCH, PLAIN, "s", repetition, lambda: _plain()["seconds"])
        for mode in MODES:
            before = load()
            points = []
            for workers in COUNTS:
                seconds = Regatta(mode).measure(workload, workers=workers).result["seconds"]["launch"]
                points.append((workers, seconds))
                session.add(f"launch, {mode}", f"{workers} workers", "s", repetition, seconds, before)
            session.add(LAUNCH, f"Regatta {mode}", "s", repetition, slope(points), before)


def driver(session: Session) -> None:
    """Measure the driver while the tiny model trains, which reports most. Supervisors are Ray actors, one per task."""
    workload = TINY_MLP.scaled(4 * session.scale)
    for repetition in range(session.repetitions):
        for mode in MODES:
            before = load()
            seen = Regatta(mode).measure(workload)
            if seen.load is not None:
                own, supervisors = seen.load
                session.add(DRIVER, f"driver, {mode}", "%", repetition, own, before)
                session.add(DRIVER, f"supervisor, {mode}", "%", repetition, supervisors, before)


def fakes(session: Session) -> None:
    """Measure 200 fake replicas. Sync: the leader reports 10 calls per second. Async: the chief, 10 for each of 198."""
    for repetition in range(session.repetitions):
        for mode in MODES:
            before = load()
            with Child("benchmarks.fake_run", {"mode": mode, "replicas": FAKE_REPLICAS, "seconds": 20.0}) as child:
                answer = child.answer()
            session.add(FAKES, f"CPU per replica, {mode}", "%", repetition, answer["cpu_percent"], before)
            session.add(FAKES, f"share of time at work, {mode}", "", repetition, answer["at_work"], before)
            session.add(FAKES, f"end of the leg noticed after, {mode}", "s", repetition, answer["behind"], before)


def memory(session: Session) -> None:
    """Measure PSS, which divides shared pages among their processes, and RSS, which counts them in each."""
    workload = TINY_MLP.scaled(2 * session.scale)
    for repetition in range(session.repetitions):
        before = load()
        plain = _plain()
        for kind in ("pss", "rss"):
            session.add(f"{MEMORY}, {kind.upper()}", PLAIN, "MiB", repetition, plain[kind] / 2**20, before)
        for mode in MODES:
            before = load()
            seen = Regatta(mode).measure(workload, memory=True)
            for kind, peaks in (("PSS", seen.pss), ("RSS", seen.rss)):
                for role in sorted({task.partition(":")[0] for task in peaks}):
                    peak = max(value for task, value in peaks.items() if task.startswith(role))
                    session.add(f"{MEMORY}, {kind}", f"{role}, {mode}", "MiB", repetition, peak / 2**20, before)


def _plain() -> dict[str, float]:
    with Child("benchmarks.plain_import", {}) as child:
        answer = child.answer()
    return {name: float(value) for name, value in answer.items()}
