"""What another person needs to repeat the runs: the spec as a file, and what it was run with and on."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.drawing import section
from orchestrator.report.environment import facts
from orchestrator.report.markup import Html, el, preformatted, table
from orchestrator.report.series import gpu_names
from orchestrator.report.stored import StoredRun, Study

_OF_ONE_RUN = ("run_id", "out", "directory")
"""Where and as what a run was stored: another's run has its own."""


def spec_text(study: Study) -> str | None:
    """A spec.yaml that trains this again; null where no run kept its spec. Differing fields become a comment."""
    import yaml

    specs = [dict(run.spec) for _, run in study.runs if run.spec]
    if not specs:
        return None
    keys = [key for key in specs[0] if key not in (*_OF_ONE_RUN, "mode", "seed")]
    same = {key: specs[0][key] for key in keys if all(spec.get(key) == specs[0][key] for spec in specs)}
    shown = {key: value for key, value in same.items() if value is not None}
    modes = list(dict.fromkeys(str(spec.get("mode")) for spec in specs))
    seeds = sorted({spec["seed"] for spec in specs if isinstance(spec.get("seed"), int)})
    shown |= {"modes": modes, "seeds": seeds} if study.comparison else {"mode": modes[0], "seed": (seeds or [0])[0]}
    differing = [key for key in keys if key not in same]
    lines = [f"# differs between the runs: {', '.join(differing)}"] if differing else []
    return "\n".join([yaml.safe_dump(shown, sort_keys=False, allow_unicode=False).rstrip(), *lines])


def command(study: Study) -> str:
    return f"regatta {'compare' if study.comparison else 'run'} spec.yaml"


def repeat(study: Study) -> Html | None:
    """Spec and environment."""
    spec = spec_text(study)
    text = (
        [el("p", "Save this as ", el("code", "spec.yaml"), " and run ", el("code", command(study)), "."), preformatted(spec)]
        if spec
        else el("p", "The spec was not recorded.")
    )
    return section("To repeat it", el("h3", "Spec"), text, el("h3", "Environment"), environments(study), id_="repeat")


def environments(study: Study) -> Html:
    """Facts of the driver's machine, once where all runs agree; the GPUs as the replicas saw them."""
    rows = environment_rows([run for _, run in study.runs])
    return table(["of the driver", "value"], rows)


def environment_rows(runs: Sequence[StoredRun]) -> list[tuple[str, str]]:
    columns = [dict(facts(run.environment)) for run in runs]
    rows: list[tuple[str, str]] = []
    for key in dict.fromkeys(key for column in columns for key in column):
        values = dict.fromkeys(column.get(key, "not recorded") for column in columns)
        rows.append((_title(key), " / ".join(values)))
    if not rows:
        rows.append(("environment", "not recorded"))
    return [*rows, ("gpu", _gpus(runs))]


def _gpus(runs: Sequence[StoredRun]) -> str:
    names = dict.fromkeys(name for run in runs for name in gpu_names(run))
    if names:
        return " / ".join(names)
    notes = dict.fromkeys(run.result.utilization.gpu_note for run in runs if run.result.utilization.gpu_note)
    return "not available" + (f" ({'; '.join(str(note).removeprefix('GPU: ') for note in notes)})" if notes else "")


def _title(key: str) -> str:
    return key.removeprefix("packages ").replace("_bytes", "").replace("_", " ")


