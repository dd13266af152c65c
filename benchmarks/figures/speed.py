"""Steady training speed, the tiny model and the compute-bound one; and the time to the first step."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.contenders.keras_fit import KerasFit
from benchmarks.contenders.ray_train import RayTrain
from benchmarks.contenders.regatta import Regatta
from benchmarks.contenders.tf_keras_fit import TfKerasFit
from benchmarks.figures import Session
from benchmarks.machine import load
from benchmarks.records import Claim
from benchmarks.workload import CNN, TINY_MLP, WAITING_INPUT, WORKERS

TINY = "tiny MLP, speed"
COMPUTE = "mnist-cnn, every worker on its own core"
FIRST_STEP = "command to first step"
INPUT = "5 ms of waiting per batch in a map"

SYNC, ASYNC = Regatta("sync"), Regatta("async")
WARM = Regatta("sync", warm=True)
NO_RAY, NO_RAY_WARM = Regatta("sync", backend="local"), Regatta("sync", backend="local", warm=True)
RAY_TRAIN = (RayTrain(1), RayTrain(20))
TF_KERAS_SYNC = (TfKerasFit("sync", 1), TfKerasFit("sync", 20))
TF_KERAS_PS = (TfKerasFit("ps", 1), TfKerasFit("ps", 20))
SINGLE = (KerasFit(1), KerasFit(20))
INDEPENDENT = (KerasFit(20, WORKERS), KerasFit(20, WORKERS, jit=True))

CLAIMS = (
    Claim("sync steps/s, tiny MLP", TINY, SYNC.name, tuple(c.name for c in RAY_TRAIN), 12, "least"),
    Claim("sync steps/s, tiny MLP", TINY, SYNC.name, tuple(c.name for c in TF_KERAS_SYNC), 5, "least"),
    Claim("async updates/s, tiny MLP", TINY, ASYNC.name, tuple(c.name for c in TF_KERAS_PS), 6, "least"),
    Claim("sync samples/s, mnist-cnn", COMPUTE, SYNC.name, tuple(c.name for c in INDEPENDENT), 0.9, "least"),
    Claim("async samples/s, mnist-cnn", COMPUTE, ASYNC.name, tuple(c.name for c in INDEPENDENT), 0.9, "least"),
    Claim("sync samples/s, waiting for input", INPUT, "2 workers", ("1 worker",), 1.8, "least"),
    Claim("command to first step, sync", FIRST_STEP, SYNC.name, (RAY_TRAIN[0].name,), 0.25, "most", "less"),
    Claim("command to first step, sync, warm", FIRST_STEP, WARM.name, (RAY_TRAIN[0].name,), 0.15, "most", "less"),
)


def tiny(session: Session) -> None:
    """Measure steps (updates) per second. A sync step trains a batch per worker; async or single-process steps, one."""
    _steps(session, (SYNC, ASYNC, *RAY_TRAIN, *TF_KERAS_SYNC, *TF_KERAS_PS, *SINGLE))


def tiny_quick(session: Session) -> None:
    """Measure the tiny model's speed without Ray Train, which takes half a minute to start."""
    _steps(session, (SYNC, ASYNC, TF_KERAS_SYNC[1], TF_KERAS_PS[1], SINGLE[1]))


def _steps(session: Session, contenders: tuple[Contender, ...]) -> None:
    workload = TINY_MLP.scaled(session.scale)
    for repetition, contender in session.turns(contenders):
        before = load()
        trained = contender.train(workload)
        session.add(TINY, contender.name, "steps/s", repetition, trained.steps_per_s, before)
        if isinstance(contender, Regatta) and trained.first_step is not None:
            session.add(f"{FIRST_STEP}, Regatta", contender.name, "s", repetition, trained.first_step, before)


def compute(session: Session) -> None:
    """Measure samples per second of two workers together, each pinned to a core, with one thread."""
    workload = CNN.scaled(session.scale)
    contenders: tuple[Contender, ...] = (*INDEPENDENT, SYNC, ASYNC, TF_KERAS_SYNC[1], TF_KERAS_PS[1])
    for repetition, contender in session.turns(contenders):
        session.timed(
            COMPUTE,
            contender.name,
            "samples/s",
            repetition,
            lambda contender=contender: contender.train(workload, cores=range(WORKERS)).samples_per_s,  # type: ignore[misc]
        )


def first_step(session: Session) -> None:
    """Measure the seconds from the command, including the start of Python, to the end of the first step."""
    workload = TINY_MLP.scaled(0.05)
    contenders = (SYNC, WARM, NO_RAY, NO_RAY_WARM, ASYNC, RAY_TRAIN[0], TF_KERAS_SYNC[0])
    for repetition, contender in session.turns(contenders):
        before = load()
        if isinstance(contender, Regatta):
            seen = contender.measure(workload)
            seconds = seen.trained.first_step
            for hop, duration in seen.hops.items():
                session.add(f"{FIRST_STEP}, {hop}", contender.name, "s", repetition, duration, before)
        else:
            seconds = contender.train(workload).first_step
        if seconds is not None:
            session.add(FIRST_STEP, contender.name, "s", repetition, seconds, before)


def waiting_input(session: Session) -> None:
    """Measure samples per second of one and two sync workers whose job does not shard its data, and waits for them."""
    workload = WAITING_INPUT.scaled(session.scale)
    for repetition in range(session.repetitions):
        for workers in (1, WORKERS):
            name = "1 worker" if workers == 1 else f"{workers} workers"
            session.timed(
                INPUT,
                name,
                "samples/s",
                repetition,
                lambda workers=workers: SYNC.measure(workload, workers=workers).trained.samples_per_s,  # type: ignore[misc]
            )
