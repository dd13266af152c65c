"""A small snapshot, and the manifest fields that go with it."""

from __future__ import annotations

import numpy as np

from workers.messages import Taken
from workers.snapshot import CallbackMemory, Snapshot

ABOUT = {"seed": 0, "job": "digits", "mode": "sync", "workers": 2, "batch_size": 32}


def a_snapshot(step: int = 10, value: float = 1.0) -> Snapshot:
    return Snapshot(
        step=step,
        samples=64 * step,
        clock=step / 10,
        weights=(np.full((3, 2), value, np.float32), np.array(step, np.int64), np.empty((0, 4), np.float16)),
        optimizer=(np.array([step], np.int64),),
        position=(Taken(2, (step, step)),),
        schedule_scale=0.5,
        callbacks=CallbackMemory({"callbacks": [], "logs": {"names": [], "rows": 0}}, (np.arange(4.0),)),
    )
