"""From a command or a folder to the spec of a sweep: what is searched, and by which metric it is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.results.sweep import Direction
from orchestrator.spec import trust
from orchestrator.spec.resolve import complete_run, job_defaults, resolve_run
from orchestrator.spec.run import RunSpec
from orchestrator.spec.sweep import ARGUMENT, SweepSpec, filled
from orchestrator.spec.validation import validated
from orchestrator.store.directory import SWEEP_SPEC
from orchestrator.store.folders import load_sweep_spec
from orchestrator.store.versions import other_version
from orchestrator.sweep.space import PARAM, check_names, parse, shown_name
from orchestrator.text import plain

_MORE_IS_BETTER = re.compile(r"acc|auc|precision|recall|f1|score|iou|bleu|r2|reward", re.IGNORECASE)
_LESS_IS_BETTER = re.compile(r"loss|error|mae|mse|mape|msle|crossentropy|perplexity|divergence", re.IGNORECASE)
_MOST_TRIED = 8
"""Of a list of values of a job's param, how many are tried on the job before anything is launched."""


def resolve_sweep(
    job: str,
    fields: Mapping[str, Any],
    params: Mapping[str, str],
    *,
    trials: int,
    metric: str | None = None,
    direction: Direction | None = None,
    prune: bool = True,
    kind: type[RunSpec] = RunSpec,
) -> SweepSpec:
    """The spec of a sweep. `params` are those of `--param`, as they were typed.

    Raises:
        UsageError, SpecError: a parameter is unknown or has no valid values, or the metric's direction is not known.
    """
    args = fields.get("params", {}).get("args", ())
    placed = {name for name in params if f"{{{name}}}" in " ".join(args)}
    space = {name: parse(name, text, plain_values=name not in placed) for name, text in params.items()}
    first = {name: space[name].samples()[0] for name in placed}
    given = dict(fields) | ({"params": {**fields["params"], "args": filled(args, first)}} if placed else {})
    run = resolve_run(job, given, kind)
    means = check_names(params, run.params, run.job, args)
    if placed:
        run = run.model_copy(update={"params": {**run.params, "args": list(args)}})
    chosen, better = _judged_by(run, metric, direction)
    spec = SweepSpec(
        run=run.model_copy(update={"target": None}),
        params={means[name]: text for name, text in params.items()},
        trials=trials,
        metric=chosen,
        direction=better,
        prune=prune,
    )
    _try_values(spec, {means[name]: values.samples() for name, values in space.items()})
    return spec


def stored_sweep_spec(path: Path, changes: Mapping[str, Any]) -> SweepSpec:
    """The spec of the sweep in folder `path`, with `changes` to fields of a run.

    Raises:
        UsageError: its spec cannot be read, or a change would make the trials unequal.
    """
    for field in ("workers", "mode"):
        if changes.get(field) is not None:
            raise UsageError(f"{field}: the trials of a sweep are compared, so that those to come keep theirs.")
    values = load_sweep_spec(path)
    run = values.pop("run", None)
    if not isinstance(run, dict):
        raise UsageError(f"{path / SWEEP_SPEC} is not the spec of a sweep.")
    trust.check(path / SWEEP_SPEC, run, changes)
    try:
        base = RunSpec.make(run | {key: value for key, value in changes.items() if value is not None})
        return validated(SweepSpec, values | {"run": base})
    except SpecError as error:
        raise UsageError(f"{error.message}{other_version(path)}") from None


def _judged_by(run: RunSpec, metric: str | None, direction: Direction | None) -> tuple[str, Direction]:
    """The metric and its better direction: those that were given, else those of the job's target, else `val_loss`."""
    target = run.parsed_target
    if metric is None:
        metric = target.metric if target else "val_loss"
    if direction is None and target is not None and target.metric == metric:
        direction = "maximize" if target.op in (">=", ">") else "minimize"
    if direction is None and _LESS_IS_BETTER.search(metric):
        direction = "minimize"
    if direction is None and _MORE_IS_BETTER.search(metric):
        direction = "maximize"
    if direction is None:
        raise UsageError(
            f"metric: whether more or less of {plain(metric)} is better cannot be told from its name: add "
            "--direction maximize or --direction minimize."
        )
    return metric, direction


def _try_values(spec: SweepSpec, samples: Mapping[str, Sequence[Any]]) -> None:
    """Validate values of every parameter before anything is launched, and those of the job's params by the job."""
    rows = list(zip_longest(*samples.values()))
    budgets = set()
    for index, row in enumerate(rows[:_MOST_TRIED]):
        values = {name: samples[name][0] if value is None else value for name, value in zip(samples, row, strict=True)}
        try:
            run = spec.trial(values, f"trial {index}")
            if any(name.startswith(PARAM) for name in values):
                complete_run(run)
            if any(name.startswith(ARGUMENT) for name in values):
                budgets.add(repr(sorted(job_defaults(run).items())))
        except SpecError as error:
            named = {PARAM + error.field.removeprefix(PARAM), error.field} & values.keys()
            of = f" ({', '.join(f'{shown_name(name)}={spec.params[name]}' for name in named)})" if named else ""
            raise UsageError(f"param: {error.message}{of}") from None
    if len(budgets) > 1:
        raise UsageError(
            "param: with some of these arguments the script's fit has another batch size or other epochs than with "
            "others, and trials are compared after the same samples. Search the field global_batch_size instead, and "
            "choose the budget with --epochs or --samples."
        )
