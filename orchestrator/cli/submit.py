"""Commands for runs on a cluster that do not need this machine: submit, submissions, status, stop, fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import Job, Json, Modes, Vary
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.remote_spec import AsComparison, AsRun, name_of, spec_of, sweep_of, with_remote_flags
from orchestrator.cli.sweep import Better, Metric, Param, Prune, Trials, as_flags, searched
from orchestrator.cli.terminal import console, print_json, say, visible
from orchestrator.cli.values import parse_settings
from orchestrator.errors import Interrupted, UsageError
from orchestrator.spec.run import RunSpec

if TYPE_CHECKING:
    from orchestrator.spec.files import Spec
    from orchestrator.submit.jobs_api import Submission, Submissions

Dashboard = Annotated[
    str,
    typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard: http://HOST:8265."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a submitted run.")]
Label = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label of the run; may be repeated.")]
Owner = Annotated[str | None, typer.Option(help="Owner of the run. Default: your user name.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run, and exit with its exit code.")]
FetchTo = Annotated[Path | None, typer.Option("--out", help="Folder to write to. Default: runs/RUN.")]
FETCH_SECONDS = 300.0


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`; `submit` takes the flags of `run` and `compare`."""

    def submit(
        job: Job,
        *,
        address: Dashboard,
        as_run: AsRun = False,
        as_comparison: AsComparison = False,
        modes: Modes = None,
        vary: Vary = None,
        param: Param = None,
        trials: Trials = 20,
        metric: Metric = None,
        direction: Better = None,
        prune: Prune = True,
        label: Label = None,
        owner: Owner = None,
        wait: Wait = False,
        as_json: Json = False,
        **given: Any,
    ) -> None:
        """Submit a run, a comparison or, with --param, a sweep to a Ray cluster, and leave it there."""
        fields = {**given, "modes": modes, "vary": vary}
        flags: list[str] = []
        spec: Spec
        if params := searched(param or ()):
            how = {"trials": trials, "metric": metric, "direction": direction, "prune": prune}
            sweep = sweep_of(job, fields, params, kind, **how)
            command, spec, flags = "sweep", sweep, as_flags(sweep)
        elif (trials, metric, direction, prune) != (20, None, None, True):
            raise UsageError("--trials, --metric, --direction and --no-prune are for sweeps: add --param NAME=VALUES.")
        else:
            command, spec = spec_of(job, fields, as_run, as_comparison, kind)
        labels = parse_settings(label or (), "--label")
        _submit(cluster_at(address), command, spec, flags, labels, owner, wait, as_json)

    app.command(cls=GroupedCommand)(with_remote_flags(submit, kind))
    for command in (submissions, status, stop, fetch):
        app.command(cls=GroupedCommand)(command)


def _submit(
    cluster: Submissions,
    command: str,
    spec: Spec,
    flags: list[str],
    labels: dict[str, str],
    owner: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    run_id = name_of(command, spec)
    cluster.submit(command, spec, run_id, flags, owner=owner or _user(), labels=labels)
    if not wait:
        text = f"Submitted {run_id}. Follow it with `regatta logs -f {run_id}`, get its results with "
        text += f"`regatta fetch {run_id}`."
        _print({"run": run_id, "address": cluster.address}, as_json, text)
        return
    ended = follow_submission(cluster, run_id, to_stderr=as_json)
    if as_json and ended.exit_code == 0:
        name = {"run": "result.json", "compare": "comparison.json", "sweep": "sweep.json"}[command]
        say(_files(cluster, run_id, name)[name].decode(errors="replace").strip())
    exit_as(ended)


def submissions(address: Dashboard, as_json: Json = False) -> None:
    """List the runs submitted to a cluster, the latest first."""
    from orchestrator.cli.tables import print_rows

    found = cluster_at(address).runs()
    if as_json:
        _print([run.to_json() for run in found], True, "")
        return
    rows = [(run.run, run.status, run.command, run.job, run.owner, _when(run), _labels(run)) for run in found]
    head = ("RUN", "STATUS", "COMMAND", "JOB", "OWNER", "STARTED", "LABELS")
    print_rows([head, *rows] if rows else [("No runs were submitted.",)], console())


def status(run: RunName, address: Dashboard, as_json: Json = False) -> None:
    """Show the status of a submitted run."""
    found = cluster_at(address).status(run)
    code = "" if found.exit_code is None else f", exit code {found.exit_code}"
    text = f"{found.run}: {found.status}{code}. {found.message}\n{found.command} {found.job}, owner {found.owner}"
    text += f", started {_when(found)}" + (f", labels {_labels(found)}" if found.labels else "")
    if found.status == "FAILED":
        text += f"\n`regatta logs {found.run}` says why."
    _print(found.to_json(), as_json, text)


def stop(run: RunName, address: Dashboard, as_json: Json = False) -> None:
    """Stop a submitted run; its results so far are kept."""
    from orchestrator.submit.follow import wait_for

    cluster = cluster_at(address)
    was_running = cluster.stop(run)
    ended = wait_for(lambda: cluster.status(run), 90)
    _print(ended.to_json(), as_json, f"{run} {'was stopped' if was_running else f'had already ended: {ended.status}'}.")


def fetch(run: RunName, address: Dashboard, out: FetchTo = None, as_json: Json = False) -> None:
    """Download the directory of a submitted run, and verify every file (SHA-256)."""
    from orchestrator.store.folders import RUNS
    from orchestrator.store.locks import claim_directory
    from orchestrator.submit import transfer

    cluster = cluster_at(address)
    state = cluster.status(run)
    folder = claim_directory(out or RUNS / run)
    files = _files(cluster, run, None)
    transfer.write(files, folder)
    note = "" if state.over else f" The run is still {state.status}: later output is not in this copy."
    size = sum(map(len, files.values()))
    document = {"run": run, "folder": str(folder), "files": len(files), "bytes": size, "status": state.status}
    _print(document, as_json, f"Fetched {len(files)} files ({size:,} bytes) into {folder}.{note}")


def cluster_at(address: str) -> Submissions:
    from orchestrator.submit.jobs_api import Submissions

    return Submissions(address)


def follow_submission(cluster: Submissions, run: str, *, to_stderr: bool) -> Submission:
    from orchestrator.submit.follow import Follower

    stream = sys.stderr if to_stderr else sys.stdout

    def write(text: str) -> None:
        stream.write(visible(text))
        stream.flush()

    try:
        return Follower(cluster, write).follow(run)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer following; the run continues. `regatta logs -f {run}` follows it again, `regatta stop {run}` "
            "stops it."
        ) from None


def _files(cluster: Submissions, run: str, only: str | None) -> dict[str, bytes]:
    from orchestrator.submit import transfer
    from orchestrator.submit.follow import wait_for

    what = f"transfer {only}" if only else "transfer"
    return transfer.unpack(cluster.sent(run, what, lambda poll: wait_for(poll, FETCH_SECONDS)).splitlines())


def exit_as(ended: Submission) -> None:
    """Exit with the exit code of the run."""
    if ended.status == "STOPPED":
        raise Interrupted(f"{ended.run} was stopped; `regatta fetch {ended.run}` downloads its results so far.")
    if ended.exit_code != 0:
        if ended.exit_code is None:  # it never started, or its host died: the log does not say why
            say(f"regatta: {ended.run} failed: {ended.message}", err=True)
        raise typer.Exit(ended.exit_code if ended.exit_code in (2, 3, 4, 130) else 4)


def _print(document: Any, as_json: bool, text: str) -> None:
    if as_json:
        print_json(document)
    else:
        say(text)


def _when(run: Submission) -> str:
    import time

    return "" if run.started is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))


def _labels(run: Submission) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(run.labels.items()))


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
