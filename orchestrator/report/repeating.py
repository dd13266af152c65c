"""The section with what is needed to repeat the runs: spec, versions and machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.report.drawing import section
from orchestrator.report.markup import Child, Html, el, preformatted, table
from orchestrator.report.series import gpu_names
from orchestrator.report.stored import StoredRun
from orchestrator.report.study import Study
from orchestrator.text import unavailable

_TITLES = {
    "regatta": "Regatta",
    "python": "Python",
    "cpu model": "processor",
    "cpu cores": "cores",
    "cpu usable": "cores usable",
    "memory_bytes": "memory",
    "commit regatta": "commit of Regatta",
    "commit job": "commit of the job's folder",
}
_ABSENT = object()
_OF_ONE_RUN = ("run_id", "out", "directory", "seed", "variant")
"""Fields that differ from run to run, and are not repeated."""


def spec_text(study: Study, *, whole: bool = True) -> str | None:
    """A spec.yaml that repeats the runs; None if no run has its spec. Without `whole`, defaults are left out."""
    import yaml

    specs = {name: _flat(runs[0].spec) for name, runs in study.modes.items() if runs and runs[0].spec}
    if not whole:
        default = _defaults()
        specs = {
            name: {key: value for key, value in spec.items() if key not in default or value != default[key]}
            for name, spec in specs.items()
        }
    if not specs:
        return None
    common = {key: value for key, value in next(iter(specs.values())).items() if _agree(key, specs.values())}
    own = {name: {key: value for key, value in spec.items() if key not in common} for name, spec in specs.items()}
    document = _nested({key: value for key, value in common.items() if value is not None})
    seeds = sorted({run.result.seed for _, run in study.runs})
    if study.comparison is None:
        document |= next(iter(own.values())) | {"seed": seeds[0]}
    elif all(fields == {"mode": name} for name, fields in own.items()):
        document |= {"modes": list(own), "seeds": seeds}
    else:
        document |= {"variants": own, "seeds": seeds}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=False, default_flow_style=None).rstrip()


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a spec without those of one run, with params named `params.x` as in a variant."""
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        if key == "params" and isinstance(value, Mapping):
            flat |= {f"params.{name}": inner for name, inner in value.items()}
        elif key not in _OF_ONE_RUN:
            flat[key] = value
    return flat


def _defaults() -> dict[str, Any]:
    """The defaults of a spec's fields, as spec.yaml holds them."""
    from orchestrator.spec.run import RunSpec

    resolved = RunSpec(job="job").resolved()
    return {key: value for key, value in resolved.items() if key not in ("job", "mode", "workers")}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        if key.startswith("params."):
            nested.setdefault("params", {})[key.removeprefix("params.")] = value
        else:
            nested[key] = value
    return nested


def _agree(key: str, specs: Iterable[Mapping[str, Any]]) -> bool:
    values = [spec.get(key, _ABSENT) for spec in specs]
    return all(value == values[0] for value in values)


def command(study: Study) -> str:
    return f"regatta {'compare' if study.comparison else 'run'} spec.yaml"


def repeat(study: Study) -> Html | None:
    """The section with spec and environment."""
    spec, whole = spec_text(study, whole=False), spec_text(study)
    text: Child = el("p", "The spec was not recorded.")
    if spec and whole:
        how = el("p", "Save this as ", el("code", "spec.yaml"), " and run ", el("code", command(study)), ".")
        every = el("details", el("summary", "Every setting, defaults included"), preformatted(whole))
        text = [how, preformatted(spec), every]
    environment = [el("h3", "Environment"), environments(study)]
    return section("How to repeat it", el("h3", "Spec"), text, environment, id_="repeat")


def environments(study: Study) -> Html:
    """A table of the driver's environment, with values once if all runs agree, and of the replicas' GPUs."""
    return table(["environment", "value"], environment_rows([run for _, run in study.runs]))


def environment_rows(runs: Sequence[StoredRun]) -> list[tuple[str, str]]:
    columns = [dict(facts(run.environment)) for run in runs]
    rows: list[tuple[str, str]] = []
    for key in dict.fromkeys(key for column in columns for key in column):
        values = dict.fromkeys(column.get(key, "not recorded") for column in columns)
        rows.append((_title(key), " / ".join(values)))
    if not rows:
        rows.append(("environment", "not recorded"))
    return [*rows, ("gpu", gpus(runs))]


def gpus(runs: Sequence[StoredRun]) -> str:
    """Names of the replicas' GPUs, or why there are none."""
    names = dict.fromkeys(name for run in runs for name in gpu_names(run))
    if names:
        return " / ".join(names)
    return unavailable(run.result.utilization.gpu_note for run in runs)


def _title(key: str) -> str:
    return _TITLES.get(key, key.removeprefix("packages ").replace("_", " "))


_MOST_FACTS = 100


def facts(stored: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Rows of a table from a stored environment.json, which may have any shape."""
    rows: list[tuple[str, str]] = []
    for key, value in (stored or {}).items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [(f"{key} {part}".strip(), _fact(key, fact)) for part, fact in parts]
    return rows[:_MOST_FACTS]


def _fact(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    if key == "memory_bytes" and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB"
    return str(value)
