"""A spec on its way elsewhere: its name, and its text as a file that `regatta run` or `compare` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec.comparison import CompareSpec
    from orchestrator.spec.run import RunSpec


def base_of(spec: RunSpec | CompareSpec) -> RunSpec:
    """What all runs of it share."""
    from orchestrator.spec.comparison import CompareSpec

    return spec.run if isinstance(spec, CompareSpec) else spec


def spec_file(spec: RunSpec | CompareSpec, directory: str) -> str:
    """The spec as the text of a file for `regatta run` or `compare`, whose job lies in `directory`."""
    import yaml

    from orchestrator.spec.comparison import CompareSpec

    fields = base_of(spec).model_dump(mode="json", exclude_none=True, exclude={"address", "out", "run_id"})
    fields["directory"] = directory
    if isinstance(spec, CompareSpec):
        fields |= spec.model_dump(mode="json", exclude={"run"}, exclude_none=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
