"""What an earlier `fit` of a script has left behind, as bytes: its model's state, its callbacks', and its files.

Its run ends with these bytes; every task of the runs after it restores them where the script comes to that `fit`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from workers.checkpoints import arrays
from workers.checkpoints.errors import DamagedError
from workers.checkpoints.manifest import Array
from workers.errors import RefusedError
from workers.model import state
from workers.model.step import build
from workers.snapshot import CallbackMemory, Snapshot
from workers.training.callback_memory import recall, remember

if TYPE_CHECKING:
    import keras

_DOCUMENT, _ARRAYS, _FILE = "fit.json", "arrays.npz", "file-{}"


def to_bytes(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], files: Mapping[str, bytes]) -> bytes:
    """What a `fit` of `model` with `callbacks`, which wrote `files`, leaves behind.

    Raises:
        CheckpointError: a variable has a type that cannot be stored.
    """
    snapshot = Snapshot(
        step=0,
        samples=0,
        clock=0.0,
        weights=tuple(map(state.to_numpy, state.state_variables(model))),
        optimizer=tuple(map(state.to_numpy, state.optimizer_variables(model))),
        callbacks=(memory := remember([model.history, *callbacks], [])),
    )
    document = {
        "callbacks": memory.document,
        "arrays": [entry.model_dump(mode="json") for entry in arrays.describe(snapshot)],
        "params": {name: value for name, value in model.history.params.items() if isinstance(value, int | None)},
        "stopped": bool(model.stop_training),
        "files": list(files),
    }
    packed = io.BytesIO()
    stored = io.BytesIO()
    arrays.write(snapshot, stored)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_DOCUMENT, json.dumps(document))
        archive.writestr(_ARRAYS, stored.getbuffer())
        for number, content in enumerate(files.values()):
            archive.writestr(_FILE.format(number), content)
    return packed.getvalue()


class StoredFit:
    """A `jobs.api.EndedFit` of such bytes."""

    def __init__(self, number: int, content: bytes) -> None:
        """Raises DamagedError if the bytes of fit `number` cannot be read."""
        self._number = number
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                document = json.loads(archive.read(_DOCUMENT))
                self.files: Mapping[str, bytes] = {
                    str(name): archive.read(_FILE.format(position)) for position, name in enumerate(document["files"])
                }
                expected = [Array.model_validate(entry) for entry in document["arrays"]]
                found = arrays.by_kind(arrays.read(archive.read(_ARRAYS), expected), expected)
            if any(PurePath(name).is_absolute() or ".." in PurePath(name).parts for name in self.files):
                raise ValueError("it names files outside of the script's folder")
            self._weights, self._optimizer = found["weights"], found["optimizer"]
            self._memory = CallbackMemory(document["callbacks"], found["callbacks"])
            self._params: dict[str, Any] = document["params"]
            self._stopped = bool(document["stopped"])
        except (DamagedError, zipfile.BadZipFile, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(f"what fit {number} left behind cannot be read: {str(error)[:200]}") from None

    def restore(
        self, model: keras.Model, batch: Any, callbacks: Sequence[keras.callbacks.Callback]
    ) -> keras.callbacks.History:
        """Put the model and the callbacks into the state that `fit` ended in; returns its History.

        Raises:
            RefusedError: they do not fit, because the script has changed since, or does not do the same every time.
        """
        import keras

        build(model, batch)
        try:
            state.write(state.state_variables(model), self._weights, "weights")
            state.write(state.optimizer_variables(model), self._optimizer, "optimizer variables")
            history = keras.callbacks.History()
            recall(self._memory, [history, *callbacks])
        except ValueError as error:
            raise RefusedError(
                f"fit {self._number} was trained with another model than the script calls it with now ({error}): it "
                "has to build the same model whenever it is run"
            ) from None
        history.params = dict(self._params)
        history.set_model(model)
        model.history = history
        model.stop_training = self._stopped
        return history
