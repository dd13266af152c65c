"""Results made readable: terminal, Markdown, HTML and pictures, from what runs left in their folders.

    from orchestrator.report import rebuild, write_reports

    write_reports(Path("runs/digits-compare"))                      # report.md, report.html, charts/*.png
    write_reports(Path("runs/monday"), Path("runs/tuesday"), out=Path("runs/both"))
    rebuild([Path("runs/monday"), Path("runs/tuesday")]).verdict

What is drawn with is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.report.stored import Study
    from orchestrator.results import Comparison

MARKDOWN, HTML, CHARTS = "report.md", "report.html", "charts"


def write_reports(path: Path, *others: Path, out: Path | None = None) -> list[Path]:
    """Write report.md, report.html and charts/*.png for the run or comparison in folder `path`.

    With `others`, for all their runs together, judged as unpaired, into `out`. Where comparison.json is missing,
    because the driver died or folders are joined, it is written too. Every file is whole or not there.
    Returns what was written. Raises UsageError when there is nothing to report, or `out` cannot be written to.
    """
    return _write(_study(path, others, out), out or path)


def rebuild(paths: Sequence[Path], baseline: str | None = None) -> Comparison:
    """The comparison of all runs stored in `paths`; see `orchestrator.report.joining.rebuild`."""
    from orchestrator.report.joining import rebuild as join_runs

    return join_runs(paths, baseline)


def show(path: Path, *others: Path, out: Path | None = None) -> tuple[dict[str, Any], Callable[[Console], None]]:
    """Write the reports, and return the document (of the comparison or the run) and what prints it."""
    study = _study(path, others, out)
    written = _write(study, out or path)

    def print_it(console: Console) -> None:
        from rich.text import Text

        from orchestrator.report.terminal import print_comparison, print_run
        from orchestrator.text import plain

        if study.comparison is not None:
            print_comparison(study.comparison, console)
        else:
            print_run(study.runs[0][1].result, console)
        console.print()
        for file in written:
            console.print(Text(f"Wrote {plain(file)}"), soft_wrap=True)

    document = study.comparison or study.runs[0][1].result
    return document.to_json(), print_it


def _study(path: Path, others: Sequence[Path], out: Path | None) -> Study:
    from orchestrator.errors import UsageError
    from orchestrator.report.joining import join, study
    from orchestrator.report.stored import run_folders

    if not others:
        return study(path)
    if out is None:
        raise UsageError("out: runs of several folders make a report of its own: name a folder for it.")
    if run_folders(out):
        raise UsageError(f"out: {out} holds runs of its own, whose report would be overwritten. Name another folder.")
    return join([path, *others])


def _write(study: Study, folder: Path) -> list[Path]:
    from orchestrator.errors import UsageError
    from orchestrator.report import html, markdown, png
    from orchestrator.report.stored import JOINED
    from orchestrator.store.directory import COMPARISON, to_json, write_atomically

    pictures = png.charts(study)
    files: dict[str, str | bytes] = {f"{CHARTS}/{name}": image for name, image in pictures.items()}
    files[MARKDOWN] = markdown.markdown(study, sorted(files))
    files[HTML] = html.page(study)
    if study.comparison is not None and not study.is_stored:
        files[COMPARISON] = to_json(study.comparison.to_json())
    if study.joined:
        files[JOINED] = to_json({"folders": [str(source) for source in study.joined]})
    try:
        if (folder / CHARTS).is_symlink():  # whoever made the folder would have us write where it leads
            raise UsageError(f"out: {folder / CHARTS} is a link: remove it, or name another folder.")
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                _write_bytes(target, content)
            else:
                write_atomically(target, content)
    except OSError as error:
        raise UsageError(f"out: {folder} cannot be written to ({error.strerror}).") from None
    return [folder / name for name in files]


def _write_bytes(path: Path, content: bytes) -> None:
    import os

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


__all__ = ["rebuild", "show", "write_reports"]
