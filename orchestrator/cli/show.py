"""Commands that train nothing: jobs, modes, runs, report, doctor and schema; and init, which writes a job to begin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.flags import Json
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Folder, given_or_latest
from orchestrator.cli.terminal import finish, print_json, say
from orchestrator.spec.run import RunSpec
from orchestrator.store.folders import RUNS

if TYPE_CHECKING:
    from orchestrator.doctor.check import Check


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""

    def schema() -> None:
        """Print the JSON Schema of a spec file."""
        from orchestrator.spec.comparison import spec_schema

        print_json(spec_schema(kind), indent=2)

    for command in (jobs, modes, runs, report, init, doctor, schema):
        app.command(cls=GroupedCommand)(command)


def jobs(as_json: Json = False) -> None:
    """List the built-in jobs."""
    from orchestrator.cli.tables import print_rows
    from orchestrator.spec.job_description import list_jobs

    listed = list_jobs()
    rows = [(job["name"], job["summary"]) for job in listed]
    finish(listed, as_json, lambda console: print_rows(rows, console))


def modes(as_json: Json = False) -> None:
    """List the modes, with the paper and the limit of each."""
    from orchestrator.cli.tables import print_rows
    from workers.modes.registry import described

    listed = described()
    rows = [("MODE", "WHAT IT DOES", "EQUAL TO", "SOURCE")]
    rows += [(row["example"], row["summary"], row["equals"], row["source"]) for row in listed]
    finish(listed, as_json, lambda console: print_rows(rows, console))


def runs(
    root: Annotated[Path, typer.Argument(help="Folder that contains run folders.")] = RUNS,
    job: Annotated[str | None, typer.Option(help="Only runs of jobs with this in their name.")] = None,
    mode: Annotated[str | None, typer.Option(help="Only runs in this mode.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status: succeeded, running, ...")] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by: date, job, metric, elapsed, ...")] = "date",
    as_json: Json = False,
) -> None:
    """List finished and unfinished runs and comparisons."""
    from dataclasses import asdict

    from orchestrator.cli.tables import print_listed
    from orchestrator.view.catalog import COLUMNS, list_runs

    listed = list_runs(root, job=job, mode=mode, status=status, sort=sort)
    head = tuple(column.upper() for column in COLUMNS)
    rows = (
        [head, *(entry.cells() for entry in listed)]
        if listed
        else [(f"No runs in {root}{' with these' if job or mode or status else ''}.",)]
    )
    finish(
        [asdict(entry) for entry in listed], as_json, lambda console: print_listed(rows, COLUMNS.index("run"), console)
    )


def report(path: Folder = None, as_json: Json = False) -> None:
    """Rebuild the report of a run or comparison from its folder."""
    from orchestrator.report import show
    from orchestrator.report.stored import UNREADABLE, unreadable

    path = given_or_latest(path)
    try:
        document, show_it = show(path)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    finish(document, as_json, show_it)


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE.py", help="File to write.")],
    script: Annotated[bool, typer.Option("--script", help="A script that ends in model.fit, not a job.")] = False,
) -> None:
    """Write a small working job, or a script, to start from."""
    from orchestrator.cli.scaffold import CLASS_NAME, write_job

    write_job(path, "my_script.py" if script else "my_job.py")
    other = (
        "A job can shard its data and has settings and defaults of its own: regatta init my_job.py\n"
        if script
        else "A script that ends in model.fit(...) needs no job: regatta init --script my_script.py\n"
    )
    say(f"Wrote {path}. Try it:\n\n    regatta compare {path}{'' if script else f':{CLASS_NAME}'}\n\n{other}")


def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, TensorFlow, Ray, GPUs, memory, cores, ports, token, listening processes."""
    from dataclasses import asdict

    from orchestrator.cli.tables import print_rows
    from orchestrator.cluster.warm.shown import look
    from orchestrator.doctor.checks import diagnose

    checks = (*diagnose(), look())
    rows = [(check.status, check.name, f"{check.detail}{_then(check)}") for check in checks]
    finish([asdict(check) for check in checks], as_json, lambda console: print_rows(rows, console))
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(2)


def _then(check: Check) -> str:
    """The remedy, on a line of its own where the detail has several."""
    if not check.remedy:
        return ""
    return ("\n" if "\n" in check.detail else " ") + check.remedy
