"""`regatta up`, commands that use what it keeps, and `regatta down`: nothing is left of any."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.integration.warm_machine import machine, used


def test_commands_use_what_is_up_and_nothing_is_left_when_it_is_down(tmp_path: Path) -> None:
    with machine(tmp_path) as here:
        first = here.up("--minutes", "20")
        assert first["started"]
        assert first["memory_bytes"]["TensorFlow"] > 100 << 20
        (session,) = [path for path in here.files() if path.name.startswith("warm-")]
        assert stat.S_IMODE(session.stat().st_mode) == stat.S_IMODE(session.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((session / "keeper.log").stat().st_mode) == 0o600

        keeper, zygote = here.processes("warm.keeper"), here.processes("supervisor.zygote")
        on_ray = here.run("on-ray")
        assert on_ray.returncode == 0, on_ray.stderr
        assert used(on_ray)
        without_ray = here.run("without-ray", "--backend", "local")
        assert without_ray.returncode == 0, without_ray.stderr
        assert used(without_ray)
        assert (here.processes("warm.keeper"), here.processes("supervisor.zygote")) == (keeper, zygote)

        again = here.up("--minutes", "30")
        assert not again["started"]
        assert 1700 < again["seconds_left"] <= 1800
        assert again["commands"] == 0

        for _ in range(2):
            done = here.call("down", "--json")
            assert json.loads(done.stdout) == {"up": False, "commands": 0}, done.stderr
            here.nothing_left()
