"""The benchmark with replicas that are not there drives the real coordinator and recorder."""

from __future__ import annotations

import pytest

from benchmarks.child import Child


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_leg_of_them_comes_to_its_end(mode: str) -> None:
    with Child("benchmarks.fake_run", {"mode": mode, "replicas": 20, "seconds": 0.5}) as child:
        answer = child.answer(timeout=60)
    assert answer["cpu_percent"] > 0
    assert 0 < answer["at_work"] < 1
    assert answer["behind"] >= 0
