"""Writes a SavedModel of a run's `model.keras`: `python -m workers.training.saved_model MODEL FOLDER`.

A process of its own, because the driver never imports TensorFlow. On stdout: one line of JSON, `{"error": ...}` if the
model cannot be read without the user's code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def write(model: Path, folder: Path) -> str | None:
    """Write the SavedModel; returns what prevents it, or None. Errors of the file system are raised."""
    import keras

    try:
        loaded = keras.saving.load_model(model, compile=False)
    except (TypeError, ValueError, ImportError) as error:
        return str(error).strip()
    loaded.export(folder, verbose=False)
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"error": write(Path(sys.argv[1]), Path(sys.argv[2]))}))
