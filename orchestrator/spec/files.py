"""Specs that are sent to another machine, as a file for `regatta run`, `compare` or `sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec
    from orchestrator.spec.sweep import SweepSpec

    Spec: TypeAlias = RunSpec | CompareSpec | SweepSpec


def base_of(spec: Spec) -> RunSpec:
    """The fields that all runs of `spec` share."""
    from orchestrator.spec.run import RunSpec

    return spec if isinstance(spec, RunSpec) else spec.run


def spec_file(spec: Spec, directory: str) -> str:
    """The text of a spec file whose job is in `directory`."""
    import yaml

    from orchestrator.spec.comparison import CompareSpec

    fields = base_of(spec).model_dump(mode="json", exclude_none=True, exclude={"address", "out", "run_id"})
    fields["directory"] = directory
    if isinstance(spec, CompareSpec):
        fields |= spec.model_dump(mode="json", exclude={"run"}, exclude_none=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
