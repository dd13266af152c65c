"""Answers "is it worth distributing at all?": one process against the distributed variants. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.results import Distributing, Interval, RunResult
from orchestrator.verdict.decision import Decision
from orchestrator.verdict.evidence import Modes
from orchestrator.verdict.scaling import rates, scaling_efficiency

ONE_PROCESS = "one process"
_NO_TRAINER = "evaluator"


def one_process(modes: Modes) -> str | None:
    """The first variant whose runs train in one process each; None if there is none."""
    return next((name for name, runs in modes.items() if runs and all(_trainers(run) == 1 for run in runs)), None)


def called(name: str, modes: Modes) -> str:
    """What a sentence calls a variant: "one process" if it is a mode that has only one."""
    runs = modes.get(name, ())
    return ONE_PROCESS if runs and all(_trainers(run) == 1 and run.mode == name for run in runs) else name


def distributing(
    modes: Modes, decide_against: Callable[[Sequence[str], str], Sequence[Decision]]
) -> Distributing | None:
    """The answer, if one variant trained in one process and others in several; `decide_against` decides on variants
    against another."""
    alone = one_process(modes)
    others = [name for name, runs in modes.items() if runs and all(_workers(run) > 1 for run in runs)]
    if alone is None or not others:
        return None
    decisions = decide_against(others, alone)
    winners = [d for d in decisions if d.winner == d.variant]
    lost = [d for d in decisions if d.winner == alone]
    name = called(alone, modes)
    worth_it: bool | None = None
    if winners:
        best, worth_it = max(winners, key=lambda d: (d.by_quality, d.advantage)), True
        answer = f"Yes, with {best.variant}: {best.short} than {name}."
    elif len(lost) == len(decisions):
        nearest, worth_it = min(lost, key=lambda d: d.advantage), False
        among = ", the nearest of the distributed variants" if len(lost) > 1 else ""
        answer = f"No, use {name}: {nearest.short} than {nearest.variant}{among}."
    else:
        undecided = [d for d in decisions if d.winner is None]
        why = undecided[0].short[0].lower() + undecided[0].short[1:]
        if undecided[0].short == Decision.short:
            why += f" between {name} and {' or '.join(d.variant for d in undecided)}"
        answer = f"Not shown: {why}."
    return Distributing(
        worth_it=worth_it, one_process=alone, answer=answer, efficiency=_efficiency(modes, alone, others)
    )


def _efficiency(modes: Modes, alone: str, others: Sequence[str]) -> Mapping[str, Interval]:
    found = {}
    for name in others:
        pairs = rates(modes[name], modes[alone])
        workers = {_workers(run) for run in modes[name]}
        if len(workers) == 1:
            estimate = scaling_efficiency(pairs.x, pairs.y, workers.pop(), paired=pairs.paired)
            if estimate.value is not None:
                found[name] = Interval(value=estimate.value, low=estimate.low, high=estimate.high)
    return found


def _trainers(run: RunResult) -> int:
    return sum(count for kind, count in run.tasks.items() if kind != _NO_TRAINER)


def _workers(run: RunResult) -> int:
    return run.tasks.get("worker", 0)
