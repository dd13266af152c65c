"""What the job's Keras callbacks need: how often to be called, the model's state, `val_*` logs, and paths for files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api import Job
from workers.errors import CallbackError
from workers.modes.mode import Consult

if TYPE_CHECKING:
    import keras

_FILE_ATTRIBUTES = ("filepath", "filename", "log_dir", "backup_dir", "_weights_path", "_training_metadata_path",
                    "_prev_weights_path", "_prev_training_metadata_path")  # fmt: skip
"""Attributes in which Keras' callbacks hold the paths that they write to."""
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_USE_LOGS_ONLY = ("TensorBoard", "TerminateOnNaN", "ProgbarLogger")
"""Keras' callbacks whose batch hooks use the logs only, so that the model need not be brought up to date for them."""


def callbacks_of(job: Job) -> list[keras.callbacks.Callback]:
    """The job's callbacks, which write their files below the run's folder.

    Raises:
        CallbackError: `Job.callbacks` returned something else.
    """
    import keras

    found = job.callbacks()
    if not isinstance(found, list | tuple | type(None)):
        raise CallbackError(f"callbacks() returned {type(found).__name__}; it has to return a list of Keras callbacks.")
    for callback in found or ():
        if not isinstance(callback, keras.callbacks.Callback):
            raise CallbackError(f"callbacks() returned a list with {callback!r}, which is not a Keras callback.")
        _write_below(job.run_directory, callback)
    return list(found or ())


def how_often(callback: keras.callbacks.Callback) -> Consult:
    """How often `callback` has to be called."""
    from keras.src.utils import is_default

    if type(callback).__name__ == "TensorBoard" and callback.update_freq == "epoch" and not callback._should_trace:
        return Consult.EPOCHS
    has_batch_hook = any(not is_default(getattr(callback, hook)) for hook in _BATCH_HOOKS)
    return Consult.CALLS if has_batch_hook else Consult.EPOCHS


def needs_model_after_calls(callback: keras.callbacks.Callback) -> bool:
    """Whether the model must be in the replicas' state when the batch hooks of `callback` run."""
    return how_often(callback) is Consult.CALLS and type(callback).__name__ not in _USE_LOGS_ONLY


def monitors_validation(callback: keras.callbacks.Callback) -> bool:
    """Whether `callback` uses `val_*` logs."""
    import keras

    monitors = str(getattr(callback, "monitor", "")).startswith("val_")
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return (monitors and callback.save_best_only) or "{val_" in callback.filepath
    return monitors


def _write_below(folder: Path | None, callback: keras.callbacks.Callback) -> None:
    """Make the relative paths that a callback writes to absolute, below the run's folder."""
    for attribute in _FILE_ATTRIBUTES if folder else ():
        name = getattr(callback, attribute, None)
        if isinstance(name, str | Path) and "://" not in str(name) and not Path(name).is_absolute():
            path = Path(str(folder), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            setattr(callback, attribute, str(path))


def append_to_logs(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Have a CSVLogger continue its file instead of truncating it."""
    for callback in callbacks:
        if type(callback).__name__ == "CSVLogger":
            callback.append = True
