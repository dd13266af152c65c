"""Baseline for launch time and memory: a process that only imports TensorFlow and Keras."""

from __future__ import annotations

import os
import time

from benchmarks.child import Line


def main() -> None:
    line = Line()
    begun = time.monotonic()
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    seconds = time.monotonic() - begun
    from benchmarks.watching import rollup

    memory = rollup(os.getpid())
    line.answer(seconds=seconds, pss=memory["Pss"], rss=memory["Rss"])


if __name__ == "__main__":
    main()
