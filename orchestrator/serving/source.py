"""What a user names to be served, as a folder of numbered versions."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.serving.versions import MODEL_FILE, versions_in
from orchestrator.store.folders import is_comparison, is_run
from orchestrator.store.model_export import export_model

SERVED = Path("export") / "served"
"""In a run's folder: the versions of its model, of which the first is the run's own."""


def folder_of(source: Path) -> Path:
    """The folder of versions: `source` itself, or that of a run, whose model is exported there first.

    Raises:
        UsageError: `source` is neither; the run has no model, or one that cannot be read without the user's classes.
    """
    if is_run(source):
        folder = source / SERVED
        if not versions_in(folder):
            export_model(source, "savedmodel", folder / "1")
        return folder
    if is_comparison(source):
        raise UsageError(
            f"{source} is a comparison. Serve one of its runs: `regatta report {source}` names the winner."
        )
    if (source / MODEL_FILE).is_file():
        raise UsageError(
            f"{source} is one SavedModel. Give the folder in which it is a numbered version, such as {source / '..'}, "
            "with the SavedModel in a subfolder called 1."
        )
    if not versions_in(source):
        raise UsageError(
            f"{source} has nothing to serve: it is no run's folder, and has no numbered subfolder (1, 2, ...) with a "
            f"{MODEL_FILE}."
        )
    return source
