"""Commands that look ahead: advise, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.flags import Job, Json, to_fields, with_spec_flags
from orchestrator.cli.grouped_help import GroupedCommand
from orchestrator.cli.terminal import finish
from orchestrator.cli.train import live_view
from orchestrator.cli.verbosity import Quiet, Verbose
from orchestrator.errors import SpecError
from orchestrator.spec.run import RunSpec


def register(app: typer.Typer, kind: type[RunSpec]) -> None:
    """Add the commands to `app`."""

    def advise(
        job: Job,
        workers_up_to: Annotated[
            int, typer.Option(metavar="N", help="Predict up to this many workers.", rich_help_panel="Cluster")
        ] = 8,
        modes: Annotated[
            str | None,
            typer.Option(
                help="Modes to predict. Default: one of each kind.", metavar="LIST", rich_help_panel="Training"
            ),
        ] = None,
        minutes: Annotated[
            float, typer.Option(help="Minutes that the probe may take, about.", rich_help_panel="Training")
        ] = 1.0,
        fresh: Annotated[
            bool, typer.Option("--fresh", help="Measure even if it was measured today.", rich_help_panel="Training")
        ] = False,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        **given: Any,
    ) -> None:
        """Measure a job for a minute on this machine, and predict which mode with how many workers is worth it."""
        from orchestrator.cli.forecasts import print_advice
        from orchestrator.foresight import advice
        from orchestrator.spec.resolve import resolve_run
        from workers.modes.names import split

        spec = resolve_run(job, to_fields(given, kind), kind)
        chosen = None if modes is None else split(modes)
        advice.check(spec, workers_up_to, minutes, chosen)
        with live_view(quiet, verbose) as view:  # the probe has several runs: what each prints is in its log
            document = advice.advise(spec, workers_up_to, minutes, view, modes=chosen, fresh=fresh)
        finish(document, as_json, lambda console: print_advice(document, console))

    unused = {"mode", "workers", "min_workers", "global_batch_size", "backend", "placement", "balance", "monitor"}
    unused |= {"gradient_noise", "run_id", "mlflow", "wandb", "timeout", "checkpoints"}
    app.command(cls=GroupedCommand)(with_spec_flags(advise, kind, without=sorted(unused)))
    app.command(cls=GroupedCommand)(simulate)


def simulate(
    modes: Annotated[str | None, typer.Option(help="Modes. Default: single,sync,async.", metavar="LIST")] = None,
    workers: Annotated[str, typer.Option(help="Numbers of workers, 1 to 4096.", metavar="LIST")] = "1,2,4,8",
    step_ms: Annotated[float | None, typer.Option(help="Milliseconds that a worker computes in a step.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Take step times and exchange from this run's folder.")
    ] = None,
    exchange_ms: Annotated[
        float | None,
        typer.Option(
            help="Milliseconds of an exchange: of each step that all workers take together; of each update at the "
            "parameter servers, which take one at a time. Default: the run's, or 0."
        ),
    ] = None,
    straggler: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="Slow workers, for example persistent:worker=1,factor=4. Default: the run's, or none.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of each worker.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate modes and numbers of workers with given step times, without training anything."""
    from orchestrator.cli.forecasts import print_simulation
    from orchestrator.foresight.simulate import Question, simulate
    from workers.modes.names import split
    from workers.modes.registry import COMPARED_BY_DEFAULT

    chosen = COMPARED_BY_DEFAULT if modes is None else tuple(split(modes))
    asked = Question(chosen, _numbers(workers), step_ms, source, exchange_ms, straggler, steps, seed)
    document = simulate(asked)
    finish(document, as_json, lambda console: print_simulation(document, console))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SpecError("workers", f"{text!r} is not allowed: give numbers, such as 1,2,4") from None
    return tuple(dict.fromkeys(numbers))
