"""`regatta logs`: the logs of a run's tasks from its folder, or the output of a submitted run from its cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.latest import Dashboard, local_folder
from orchestrator.cli.terminal import say
from orchestrator.errors import Interrupted, UsageError
from orchestrator.spec.run import RunSpec
from orchestrator.store.folders import RUNS

Run = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Folder of a run, or name of a submitted one. Default: the latest in runs/."),
]
TaskName = Annotated[str | None, typer.Argument(metavar="[TASK]", help="A task of the run: worker:0. Default: all.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Follow until the run ends.")]
Everything = Annotated[bool, typer.Option("--all", help="Also what TensorFlow writes in every run.")]


def logs(
    run: Run = None,
    task: TaskName = None,
    address: Dashboard = None,
    follow: Follow = False,
    everything: Everything = False,
) -> None:
    """Show what a run's tasks, or a submitted run, printed; interrupting this does not stop the run."""
    folder = local_folder(run, address)
    if folder is not None:
        from orchestrator.view.task_logs import print_logs

        try:
            print_logs(folder, task, say, follow=follow, everything=everything)
        except KeyboardInterrupt:
            raise Interrupted("no longer following; the run continues.") from None
        return
    if run is None or address is None:
        raise UsageError(
            f"{run} is not the folder of a run. For a submitted run, say where: --address http://HOST:8265, or "
            "RAY_API_SERVER_ADDRESS."
        )
    if task is not None:
        raise UsageError(
            f"The tasks' logs of a submitted run are in its folder: `regatta fetch {run}`, then `regatta logs "
            f"{RUNS / run} {task}`."
        )
    from orchestrator.cli.submit import cluster_at, exit_as, follow_submission

    cluster = cluster_at(address)
    if follow:
        exit_as(follow_submission(cluster, run, to_stderr=False))
    else:
        say(cluster.logs(run), nl=False)


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the command to `app`."""
    app.command("logs", cls=GroupedCommand)(logs)
