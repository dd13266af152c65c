"""A job that looks at the environment it runs in."""

import os

from exact import Exact
from pydantic import Field


class Sited(Exact):
    """Raises unless the variables that are to be taken have arrived in the task."""

    class Params(Exact.Params):
        taken: dict[str, str] = Field(default_factory=dict)

    def build_model(self):
        found = {name: os.environ.get(name) for name in self.params.taken}
        missing = {name: value for name, value in found.items() if value != self.params.taken[name]}
        if missing:
            raise RuntimeError(f"not taken: {missing}")
        return super().build_model()
