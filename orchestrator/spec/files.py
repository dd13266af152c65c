"""Specs that are sent to another machine, as a file for `regatta run` or `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec


def base_of(spec: RunSpec | CompareSpec) -> RunSpec:
    """The fields that all runs of `spec` share."""
    from orchestrator.spec.comparison import CompareSpec

    return spec.run if isinstance(spec, CompareSpec) else spec


def spec_file(spec: RunSpec | CompareSpec, directory: str) -> str:
    """The text of a spec file whose job is in `directory`."""
    import yaml

    from orchestrator.spec.comparison import CompareSpec

    fields = base_of(spec).model_dump(mode="json", exclude_none=True, exclude={"address", "out", "run_id"})
    fields["directory"] = directory
    if isinstance(spec, CompareSpec):
        fields |= spec.model_dump(mode="json", exclude={"run"}, exclude_none=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
