"""The page that `regatta advise` writes: its recommendation, and predicted curves over the number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.drawing import drawn, section
from orchestrator.report.figures import Axis, Chart, end_labels, figure, horizontal_line, label, short, span_of
from orchestrator.report.html import document, heading
from orchestrator.report.lines import ribbon
from orchestrator.report.markup import Html, el, table
from orchestrator.report.palette import colours, dashes
from orchestrator.text import MISSING, factor, number, plain, plural, seconds

_LINKS = [("advice", "Advice"), ("predictions", "Predictions"), ("probe", "The probe")]
_QUANTITIES = (
    ("seconds_to_target", "Time to the target", "seconds to the target"),
    ("samples_per_s", "Samples per second", "samples per second"),
)
_PROBED = {
    "update_ms": "ms per update",
    "exchange_ms": "ms of an exchange",
    "input_wait_ms": "ms waiting for input",
    "processor_ms": "ms of processor",
    "staleness": "staleness",
}


def page(advice: Mapping[str, Any]) -> str:
    """The file report.html as text, for the document of `orchestrator.foresight.advice`."""
    job = plain(advice["job"], 120)
    meta = f"{plain(advice['made'])}, target {plain(advice['target'] or 'none')}, stragglers {advice['straggler']}"
    parts = [_advice(advice), _predictions(advice), _probe(advice["probe"])]
    return document(f"{job}: advice", heading(f"{job}: which mode, how many workers", meta, _LINKS), parts)


def sentences(advice: Mapping[str, Any]) -> list[str]:
    """What is recommended, where that would change, and where it comes from."""
    probe, chosen = advice["probe"], advice["recommendation"]
    lines = [
        f"Predicted with 90 % intervals for {probe['cores']:g} cores, which all tasks share. Speedup is in samples per "
        "second, gain in time to the target, both over one process.",
    ]
    reason = advice["predictions"][0]["seconds_to_target"]["reason"]
    if reason:
        lines.append(f"No time to a target: {reason}.")
    if chosen is None:
        lines.append("No recommendation: no mode with several workers could be predicted.")
    elif chosen["distribute"]:
        workers = plural(chosen["workers"], "worker")
        each = f"{chosen['samples_per_update']:,} samples per update"
        lines.append(
            f"Recommended: {chosen['mode']} with {workers}, {each}: {gain_text(chosen['gain'])} in {chosen['by']}."
        )
        lines.append(f"Learning rate: {chosen['learning_rate']}")
    else:
        near = chosen["nearest"]
        best = f"{near['mode']} with {plural(near['workers'], 'worker')} would be {factor(near['gain'])} as fast"
        lines.append(
            f"Recommended: do not distribute. {best} as one process in {chosen['by']}: slower, or within the error."
        )
    lines += [f"- {tip}." for tip in advice["tips"]]
    age = "an earlier probe, used again" if probe["reused"] else f"a probe of {seconds(probe['seconds'])}"
    lines.append(f"From {age} ({probe['folder']}); as curves: {advice['page']}")
    lines.append(f"A comparison of the job will be set against it: {advice['file']}")
    return lines


def gain_text(found: Mapping[str, Any]) -> str:
    """A factor with its interval."""
    return factor(found["value"], found["low"], found["high"])


def _advice(advice: Mapping[str, Any]) -> Html:
    return section("Advice", *(el("p", line) for line in sentences(advice)), id_="advice")


def _predictions(advice: Mapping[str, Any]) -> Html:
    charts = (drawn(_chart(advice["predictions"], *quantity)) for quantity in _QUANTITIES)
    rows = [
        (
            plain(row["mode"]),
            row["workers"],
            f"{row['samples_per_update']:,}",
            *(_range(row[name]) for name in ("update_seconds", "samples_per_s", "samples_to_target")),
            *(_range(row[name]) for name in ("seconds_to_target", "gain")),
        )
        for row in advice["predictions"]
    ]
    head: tuple[str, ...] = ("mode", "workers", "samples per update", "seconds per update", "samples per second")
    head += ("samples to the target", "seconds to the target", "gain over one process")
    return section(
        "Predictions",
        el("p", "With 90 % intervals, for the cores of the machine that was measured, which all tasks share."),
        *charts,
        table(head, rows, numeric=range(1, len(head)), sortable=True),
        id_="predictions",
    )


def _chart(rows: Sequence[Mapping[str, Any]], quantity: str, title: str, axis: str) -> Chart:
    """A line for each mode over the number of workers, with its interval; one process is a line across."""
    alone = rows[0]
    modes = dict.fromkeys(row["mode"] for row in rows if row["mode"] != alone["mode"])
    names = [alone["mode"], *modes]
    colour, dash = colours(names), dashes(names)
    under, over, values = [], [], list[float]()
    for mode in modes:
        known = [row for row in rows if row["mode"] == mode and row[quantity]["value"] is not None]
        x = [float(row["workers"]) for row in known]
        low, middle, high = ([row[quantity][bound] for row in known] for bound in ("low", "value", "high"))
        if not known:
            continue
        values += [*low, *high]
        shared = {"name": label(mode), "legendgroup": label(mode), "meta": mode, "type": "scatter"}
        under.append(ribbon(x, low, high, colour[mode]) | shared | {"mode": "lines"})
        line = {"color": colour[mode], "width": 2.5, "dash": dash[mode]}
        own = {"x": x, "y": short(middle), "line": line, "mode": "lines+markers", "hovertemplate": "%{y:.4g}"}
        over.append(own | shared)
    base = alone[quantity]["value"]
    across = {} if base is None else horizontal_line(base, "one process")
    span = span_of([*values, *([] if base is None else [base])])
    x_axis, y_axis = Axis("workers", extra={"dtick": 1} if len(values) < 200 else {}), Axis(axis, span=span)
    shown = figure([*under, *over], x_axis, y_axis, showlegend=True, hovermode="x unified", **across)
    ends = end_labels(over, span, log=False) if span is not None else []
    return Chart(title, {"": shown | {"ends": ends}}, describes=f"{title} by number of workers, for every mode")


def _probe(probe: Mapping[str, Any]) -> Html:
    rows = [
        (plain(kind), *(number(measured[key], 3) for key in _PROBED), measured["evaluations"])
        for kind, measured in probe["measured"].items()
    ]
    noise = probe["gradient_noise_scale"]
    told = "not measured" if noise is None else f"{number(noise, 3)} samples"
    return section(
        "The probe",
        el("p", f"{plural(len(rows), 'short run')} in {seconds(probe['seconds'])}. Gradient noise scale: {told}."),
        table(("run", *_PROBED.values(), "evaluations"), rows, numeric=range(1, len(_PROBED) + 2)),
        id_="probe",
    )


def _range(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return found["reason"] or MISSING
    return f"{number(found['value'], 3)} [{number(found['low'], 3)}, {number(found['high'], 3)}]"
