"""Packages that the zygote does not import can be imported by replicas that need them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from workers.supervisor.zygote import preload
preload()
absent = {"matplotlib.pyplot", "matplotlib.figure", "sklearn", "cv2"}
assert not absent & set(sys.modules), absent & set(sys.modules)
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

import keras, numpy as np, tensorflow as tf

@tf.function
def halved(x):
    while tf.reduce_sum(x) > 1:
        x = x / 2
    return x

model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
halved(tf.ones(3))
assert not absent & set(sys.modules), "training needs none of them"
"""

USES = {
    "pyplot": """
import matplotlib
assert "matplotlib.figure" not in sys.modules
matplotlib.use("agg")
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.savefig(sys.argv[1])
""",
    "gallery": """
keras.visualization.plot_image_gallery(np.ones((4, 8, 8, 3)), rows=2, cols=2, value_range=(0, 1), path=sys.argv[1])
from keras.src.visualization import plot_image_gallery
assert plot_image_gallery.plt is sys.modules["matplotlib.pyplot"]
""",
    "whatever is not installed": """
import importlib.util
uses = {
    "sklearn": lambda: keras.wrappers.SKLearnRegressor(model).fit(np.ones((8, 2)), np.ones(8)),
    "cv2": lambda: keras.visualization.draw_bounding_boxes(
        np.ones((1, 8, 8, 3)), {"boxes": np.ones((1, 1, 4)), "labels": np.ones((1, 1))}, "xyxy"
    ),
}
for name, use in uses.items():
    try:
        use()
    except ImportError as error:
        assert importlib.util.find_spec(name) is None and "pip install" in str(error)
    else:
        assert importlib.util.find_spec(name) is not None
open(sys.argv[1], "w").write("done")
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_a_forked_replica_uses_what_the_zygote_left_for_later(use: str, tmp_path: Path) -> None:
    script, made = tmp_path / "script.py", tmp_path / "made.png"
    script.write_text(PROBE + USES[use] + "\nos._exit(0)")  # in a file: AutoGraph reads the source
    command = [sys.executable, "-P", str(script), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert made.stat().st_size > 0
