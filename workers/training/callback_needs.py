"""What the job's Keras callbacks need: how often to be called, the model's state, `val_*` logs, and paths for files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.api import Job
from workers.errors import CallbackError
from workers.modes.mode import Consult
from workers.session import say

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
    callbacks = list(_one_by_one(found or ()))
    for callback in callbacks:
        _write_below(job.files_folder, callback)
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            _keep_from_restoring(callback)
    return callbacks


def _one_by_one(callbacks: Iterable[keras.callbacks.Callback]) -> Iterator[keras.callbacks.Callback]:
    """The callbacks, and in place of a CallbackList those in it."""
    import keras

    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CallbackList):
            yield from _one_by_one(callback.callbacks)
        else:
            yield callback


def _keep_from_restoring(callback: keras.callbacks.BackupAndRestore) -> None:
    """Have `callback` write its backups, but not read them: it knows neither the step nor the position in the data."""

    def say_if_there_is_one() -> None:
        if Path(callback._weights_path).exists():
            say(
                f"{type(callback).__name__}'s backup in {callback.backup_dir} is not read: Regatta's own checkpoints "
                "hold the whole state of a run; `regatta resume` continues from them"
            )

    callback._load_model = say_if_there_is_one


def say_which_need_every_batch(callbacks: Iterable[keras.callbacks.Callback], steps_per_call: int | None) -> None:
    """Say which callbacks cost the fusing of steps, or have to do without every batch as the spec asks for."""
    names = sorted({type(one).__name__ for one in callbacks if how_often(one) >= Consult.BATCH_ENDS})
    if not names:
        return
    if (steps_per_call or 1) > 1:
        say(f"{', '.join(names)}: batch hooks run once per {steps_per_call} batches, because steps_per_call is given")
    else:
        say(f"{', '.join(names)}: batch hooks run for every batch, so steps are not fused, which is slower")


def how_often(callback: keras.callbacks.Callback) -> Consult:
    """How often `callback` has to be called."""
    hooks = _batch_hooks(callback)
    if not hooks or _acts_on_epochs_only(callback, hooks):
        return Consult.EPOCHS
    if not _depends_on_batches(callback, hooks):
        return Consult.CALLS
    return Consult.BATCHES if any("begin" in name for name in hooks) else Consult.BATCH_ENDS


def _batch_hooks(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """The batch hooks that `callback` overrides, by name."""
    from keras.src.utils import is_default

    found = {name: getattr(callback, name) for name in _BATCH_HOOKS}
    return {name: hook for name, hook in found.items() if not is_default(hook)}


def _are_keras_own(hooks: Mapping[str, Any]) -> bool:
    """Whether all `hooks` are Keras' code; the functions that a LambdaCallback was given are not."""
    return all(str(getattr(hook, "__module__", "")).startswith("keras.") for hook in hooks.values())


def _acts_on_epochs_only(callback: keras.callbacks.Callback, hooks: Mapping[str, Any]) -> bool:
    """Whether the batch hooks of `callback` do nothing with the arguments it was created with."""
    if not _are_keras_own(hooks):
        return False
    if hasattr(callback, "update_freq"):  # TensorBoard
        return bool(callback.update_freq == "epoch" and not callback._should_trace)
    return getattr(callback, "save_freq", None) == "epoch"


def _depends_on_batches(callback: keras.callbacks.Callback, hooks: Mapping[str, Any]) -> bool:
    """Whether what `callback` does would depend on how many steps are fused into a call.

    All that Keras ships are given the number of the last batch, and those without a frequency of their own
    (TerminateOnNaN, ProgbarLogger) only ever use the latest logs.
    """
    import keras

    if isinstance(callback, keras.callbacks.BackupAndRestore) and _are_keras_own(hooks):
        return False  # its backups are never read
    return not _are_keras_own(hooks) or hasattr(callback, "save_freq") or hasattr(callback, "update_freq")


def needs_model_after_calls(callback: keras.callbacks.Callback) -> bool:
    """Whether the model must be in the replicas' state when the batch hooks of `callback` run."""
    return how_often(callback) >= Consult.CALLS and type(callback).__name__ not in _USE_LOGS_ONLY


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
