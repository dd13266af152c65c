"""Reports: the results of a run or a comparison, made readable, from what the runs stored in their folders.

    from orchestrator.report import write_reports

    write_reports(Path("runs/digits"))                  # report.md, report.html, charts/*.png

The modules that draw are imported when a report is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.report.study import Study
    from orchestrator.results import Sweep

MARKDOWN, HTML, CHARTS = "report.md", "report.html", "charts"


def write_reports(path: Path) -> list[Path]:
    """Write report.md, report.html and charts/*.png for the run, comparison or sweep in folder `path`.

    The charts need Matplotlib (`pip install 'regatta[charts]'`). comparison.json is written too if it is missing,
    because the driver died, or if it lacks runs. Every file is written atomically. Returns the files written.

    Raises:
        UsageError: there is nothing to report, or the folder cannot be written to.
    """
    from orchestrator.report.study import load_study
    from orchestrator.store.folders import is_sweep, load_sweep

    return _write_sweep(load_sweep(path), path) if is_sweep(path) else _write(load_study(path), path)


def show(path: Path) -> tuple[dict[str, Any], Callable[[Console], None]]:
    """Write the reports; returns the JSON document of the comparison, sweep or run, and a function that prints it."""
    from orchestrator.report.study import load_study
    from orchestrator.store.folders import is_sweep, load_sweep

    if is_sweep(path):
        return _show_sweep(load_sweep(path), path)
    study = load_study(path)
    written = _write(study, path)

    def print_it(console: Console) -> None:
        from orchestrator.report.terminal import print_comparison, print_run

        if study.comparison is not None:
            print_comparison(study.comparison, console)
        else:
            print_run(study.runs[0][1].result, console)
        _print_written(written, console)

    document = study.comparison or study.runs[0][1].result
    return document.to_json(), print_it


def _show_sweep(sweep: Sweep, path: Path) -> tuple[dict[str, Any], Callable[[Console], None]]:
    written = _write_sweep(sweep, path)

    def print_it(console: Console) -> None:
        from orchestrator.report.terminal_sweep import print_sweep

        print_sweep(sweep, console)
        _print_written(written, console)

    return sweep.to_json(), print_it


def _print_written(written: list[Path], console: Console) -> None:
    from rich.text import Text

    from orchestrator.text import plain

    console.print()
    for file in written:
        console.print(Text(f"Wrote {plain(file)}"), soft_wrap=True)


def _write_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    from orchestrator.report import sweep as pages

    return _write_files({MARKDOWN: pages.markdown(sweep), HTML: pages.page(sweep)}, folder)


def _write(study: Study, folder: Path) -> list[Path]:
    from orchestrator.report import html, markdown, png
    from orchestrator.store.directory import COMPARISON, to_json

    files: dict[str, str | bytes] = {f"{CHARTS}/{name}": image for name, image in png.charts(study).items()}
    files[MARKDOWN] = markdown.markdown(study, sorted(files))
    files[HTML] = html.page(study)
    if study.comparison is not None and not study.is_stored:
        files[COMPARISON] = to_json(study.comparison.to_json())
    return _write_files(files, folder)


def _write_files(files: Mapping[str, str | bytes], folder: Path) -> list[Path]:
    from orchestrator.errors import UsageError
    from workers.files import write_atomically

    try:
        if (folder / CHARTS).is_symlink():  # a folder made by someone else would have us write elsewhere
            raise UsageError(f"{folder / CHARTS} is a symbolic link, which reports do not follow: remove it.")
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to ({error.strerror}).") from None
    return [folder / name for name in files]


__all__ = ["show", "write_reports"]
