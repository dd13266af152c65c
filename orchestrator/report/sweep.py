"""report.html and report.md of a sweep: the best trial, a chart for each parameter, and all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.report.drawing import drawn, section
from orchestrator.report.figures import Axis, Chart, Figure, figure, label
from orchestrator.report.html import Live, document, heading
from orchestrator.report.markdown import escape, table_text
from orchestrator.report.markup import Html, el, preformatted, table
from orchestrator.report.palette import COLOURS, NEUTRAL
from orchestrator.results import Sweep, Trial
from orchestrator.text import is_number, number, plain, plural, seconds

_STATES = (
    ("finished", COLOURS[0], "circle"), ("pruned", NEUTRAL, "x"), ("unfinished", COLOURS[1], "diamond-open"),
)  # fmt: skip
_LINKS = [("best", "Best"), ("parameters", "Parameters"), ("trials", "Trials")]


def page(sweep: Sweep, live: Live | None = None) -> str:
    """The file report.html as text, or the page of `regatta watch --web`."""
    title = f"{plain(sweep.job, 120)}: sweep"
    meta = f"{plain(sweep.sweep_id, 120)}, {progress(sweep)}"
    return document(
        f"{title} {plain(sweep.sweep_id, 60)}",
        heading(title, meta, _LINKS),
        [_best(sweep), _parameters(sweep), _trials(sweep)],
        live,
    )


def markdown(sweep: Sweep) -> str:
    """The file report.md as text."""
    best = sweep.best_trial
    parts = [f"# {escape(sweep.job)}: sweep", f"**{escape(headline(sweep))}** {escape(progress(sweep))}."]
    if best is not None:
        parts.append(table_text(["parameter", "searched", "best"], _found(sweep, best)))
        parts += [f"To train it alone: `{plain(sweep.command)}`"]
    if sweep.importance:
        parts += ["## Importance", table_text(["parameter", "share"], _importance(sweep))]
    parts += ["## Trials", table_text(trial_columns(sweep), trial_rows(sweep))]
    return "\n\n".join(parts) + "\n"


def headline(sweep: Sweep) -> str:
    """The best value, in a sentence."""
    best = sweep.best_trial
    if best is None:
        return f"No trial has a final {plain(sweep.metric)} yet."
    return f"Best {plain(sweep.metric)}: {number(best.value)}, in trial {best.number}."


def progress(sweep: Sweep) -> str:
    """`18 of 20 trials ended: 10 finished, 7 pruned, 1 failed`."""
    counts = {state: sum(trial.state == state for trial in sweep.trials) for state in ("finished", "pruned", "failed")}
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{sweep.ended} of {plural(sweep.wanted, 'trial')} ended{f': {ended}' if ended else ''}"


def trial_columns(sweep: Sweep) -> list[str]:
    """Titles of the table of trials."""
    return ["trial", *(plain(name, 40) for name in sweep.params), plain(sweep.metric, 40), "state", "seconds"]


def trial_rows(sweep: Sweep) -> list[list[str]]:
    """A line for each trial, the best first, and those without a value last."""
    sign = -1 if sweep.direction == "maximize" else 1

    def rank(trial: Trial) -> tuple[bool, float]:
        value = trial.value if is_number(trial.value) else math.inf
        return trial.state != "finished", sign * value if math.isfinite(value) else math.inf

    return [
        [
            str(trial.number),
            *(_shown(trial.params.get(name)) for name in sweep.params),
            number(trial.value),
            trial.state,
            seconds(trial.elapsed_seconds).removesuffix(" s"),
        ]
        for trial in sorted(sweep.trials, key=rank)
    ]


def _best(sweep: Sweep) -> Html:
    best = sweep.best_trial
    parts: list[Html] = [el("p", el("strong", headline(sweep))), el("p", f"{progress(sweep)}.")]
    if best is not None:
        parts.append(table(["parameter", "searched", "best"], _found(sweep, best), numeric=(2,)))
        parts += [el("p", "To train it alone:"), preformatted(str(sweep.command))]
    parts.append(
        el(
            "p",
            "Every trial trains the same samples with the same seed, so that chance decides between close ones: "
            "compare the best few with several seeds (regatta compare --vary) before believing the first.",
            class_="note",
        )
    )
    return section("Best", *parts, id_="best")


def _parameters(sweep: Sweep) -> Html:
    charts = [drawn(_scatter(sweep, name)) for name in sweep.params]
    shares = None
    if sweep.importance:
        shares = el(
            "div",
            el("p", "Share of each parameter in the spread of the better trials (PED-ANOVA):"),
            table(["parameter", "share"], _importance(sweep), numeric=(1,)),
        )
    return section("Parameters", shares, *charts, id_="parameters")


def _trials(sweep: Sweep) -> Html:
    columns = trial_columns(sweep)
    numeric = [i for i, name in enumerate(columns) if name != "state"]
    return section("Trials", table(columns, trial_rows(sweep), numeric=numeric, sortable=True), id_="trials")


def _scatter(sweep: Sweep, name: str) -> Chart:
    """The metric of every trial, against one of the parameters."""
    measured = [trial for trial in sweep.trials if is_number(trial.value) and name in trial.params]
    values = [trial.params[name] for trial in measured]
    counted = all(map(is_number, values)) and "," not in sweep.params[name]
    names = [] if counted else sorted({_shown(value) for value in values})
    data: list[dict[str, Any]] = []
    for state, colour, symbol in _STATES:
        shown = [trial for trial in measured if trial.state == state]
        if shown:
            at = [trial.params[name] if counted else names.index(_shown(trial.params[name])) for trial in shown]
            text = [label(f"trial {trial.number}: {_shown(trial.params[name])}", 80) for trial in shown]
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": state, "x": at, "y": [t.value for t in shown],
                    "text": text, "hovertemplate": "%{text}<br>%{y}<extra></extra>",
                    "marker": {"color": colour, "symbol": symbol, "size": 9},
                }
            )  # fmt: skip
    x = Axis(name, log=counted and sweep.params[name].startswith("log:"), ticks=None if counted else names)
    drawn_figure: Figure = figure(data, x, Axis(sweep.metric), showlegend=len(data) > 1)
    what = f"{plain(sweep.metric, 40)} of every trial against {plain(name, 40)}"
    return Chart(f"{plain(name, 40)}", {"": drawn_figure}, describes=what, height=280)


def _found(sweep: Sweep, best: Trial) -> list[list[str]]:
    return [[plain(name), plain(text), _shown(best.params.get(name))] for name, text in sweep.params.items()]


def _importance(sweep: Sweep) -> Sequence[list[str]]:
    shares = (sweep.importance or {}).items()
    return [[plain(name.removeprefix("params.").removeprefix("args.")), f"{share:.0%}"] for name, share in shares]


def _shown(value: object) -> str:
    return "-" if value is None else number(value) if isinstance(value, float) else plain(value, 60)
