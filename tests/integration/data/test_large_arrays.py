"""Arrays larger than one message of gRPC may be, which is 2 GB."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration.local_runs import train


@pytest.mark.slow
def test_async_trains_on_more_than_a_message_holds() -> None:
    """Its tasks took 14 GB in all, and 115 s beside other tests."""
    fields = {"workers": 1, "batch_size": 32, "samples": 640, "eval_every": 640, "launch_timeout": 400}
    (result,) = train("in_memory.py", mode="async", params={"way": "slices", "megabytes": 2200}, **fields)
    assert np.isfinite(result.losses).all()
    assert len(result.losses) == 20
