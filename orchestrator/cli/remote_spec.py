"""Specs of runs, comparisons and sweeps that are trained elsewhere, for `submit` and `kuberay`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.flags import to_fields, with_spec_flags
from orchestrator.errors import UsageError
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.files import base_of
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import SweepSpec

if TYPE_CHECKING:
    from orchestrator.spec.files import Spec

AsRun = Annotated[bool, typer.Option("--run", help="Train one run in one mode; implied by --mode.")]
AsComparison = Annotated[bool, typer.Option("--compare", help="Compare modes; the default without --mode.")]


def with_remote_flags(command: Callable[..., None], kind: type[RunSpec]) -> Callable[..., None]:
    """Give `command` the flags of `run` and `compare`, except those that concern this machine."""
    return with_spec_flags(command, kind, comparison=True, without=("address", "out"))


def spec_of(
    job: str, given: Mapping[str, Any], as_run: bool, as_comparison: bool, kind: type[RunSpec]
) -> tuple[str, RunSpec | CompareSpec]:
    """Choose `run` or `compare`, and validate the spec; returns both.

    Raises:
        UsageError: both were asked for, or the spec is invalid.
    """
    from orchestrator.spec.resolve import resolve_comparison, resolve_run

    if as_run and as_comparison:
        raise UsageError("--run and --compare were given together: give one of them.")
    command = "run" if as_run or (given.get("mode") is not None and not as_comparison) else "compare"
    # The submitted job attaches to Ray from inside the cluster, not through the dashboard's address.
    fields = to_fields(given, kind) | {"address": "auto"}
    resolve: Callable[..., RunSpec | CompareSpec] = resolve_run if command == "run" else resolve_comparison
    return command, resolve(job, fields, kind)


def sweep_of(
    job: str, given: Mapping[str, Any], params: Mapping[str, str], kind: type[RunSpec], **how: Any
) -> SweepSpec:
    """The spec of a sweep of `params`. Raises UsageError, SpecError as `regatta sweep` does."""
    from orchestrator.sweep.plan import resolve_sweep

    if given.get("modes") is not None or given.get("vary"):
        raise UsageError(
            "--param was given together with --modes or --vary: a sweep searches the mode with --param mode=sync,async."
        )
    return resolve_sweep(job, to_fields(given, kind) | {"address": "auto"}, params, kind=kind, **how)


def name_of(command: str, spec: Spec) -> str:
    """The run id of the spec, or a new one."""
    from orchestrator.store.directory import new_id

    base = base_of(spec)
    return base.run_id or new_id(f"{Path(base.job.partition(':')[0]).stem}-{command}")
