"""The spec of a comparison: its variants, its seeds, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import SpecError
from orchestrator.results import DEFAULT_MARGIN
from orchestrator.spec.run import RunSpec
from orchestrator.spec.updates import LearningRateScaling, fair_changes
from orchestrator.spec.validation import shown, validated
from orchestrator.spec.variants import ALL_MODES, expand, merge
from workers.modes.registry import MODES, examples
from workers.settings import Flag, Seed

MAX_SEEDS = 1000


class CompareSpec(BaseModel):
    """Several variants of one job, each trained with several seeds and an equal sample budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: RunSpec
    """The fields that all runs share; each variant replaces some of them, and each run the seed."""
    variants: Mapping[str, Mapping[str, Any]] = Field(default_factory=lambda: expand(None, None, None))
    """Overridden fields by variant name (`orchestrator.spec.variants`); the first variant is the baseline."""
    seeds: Annotated[
        Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_SEEDS)],
        Flag("training", metavar="N|LIST", style="list", default="3"),
    ] = (0, 1, 2)
    """Number of seeds per variant, or a list: 0,1,2."""
    margin: Annotated[Annotated[float, Field(gt=0, lt=1)], Flag("training")] = DEFAULT_MARGIN
    """Accuracies closer than this count as equal."""
    lr_scaling: Annotated[LearningRateScaling, Flag("training")] = "none"
    """How a variant's learning rate follows its samples per update, from the baseline's."""
    tune_lr: Annotated[bool, Flag("training")] = False
    """First tune each variant's learning rate, with equal budgets, on a seed that is not scored."""

    @model_validator(mode="after")
    def _variants_are_valid(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise SpecError("seeds", f"{list(self.seeds)} contains a seed twice")
        self.runs(self.seeds[0])
        return self

    @property
    def baseline(self) -> str:
        return next(iter(self.variants))

    def variant(self, name: str, seed: int) -> RunSpec:
        """The spec of one run: variant `name` with `seed`."""
        return self.runs(seed)[name]

    def runs(self, seed: int) -> dict[str, RunSpec]:
        """The run of every variant with `seed`, with what makes them comparable (`orchestrator.spec.updates`)."""
        shared = self.run.model_dump() | {"seed": seed, "files_apart": True}
        runs = {
            name: type(self.run).make(merge(shared, own) | {"variant": name}) for name, own in self.variants.items()
        }
        changes = fair_changes(runs, self.variants, self.lr_scaling)
        return {name: run.model_copy(update=changes[name]) for name, run in runs.items()}

    @classmethod
    def make(cls, values: Mapping[str, Any], kind: type[RunSpec] = RunSpec) -> Self:
        """Like `RunSpec.make`, for the fields of a run and those of a comparison (`RunSpec.COMPARE_ONLY`) together."""
        own = {key: values[key] for key in kind.COMPARE_ONLY if values.get(key) is not None}
        shared = {key: value for key, value in values.items() if key not in kind.COMPARE_ONLY}
        # Balancing becomes a variant next to the unbalanced one, because the question is whether it helps.
        balance = own.get("variants") is None and shared.pop("balance", None)
        run = kind.make(shared)
        if isinstance(count := own.get("seeds"), int):
            if isinstance(count, bool) or not 1 <= count <= MAX_SEEDS:
                allowed = f"a number from 1 to {MAX_SEEDS}, or a list"
                raise SpecError("seeds", f"{shown(count)} is not allowed: give {allowed}")
            own["seeds"] = tuple(range(run.seed, run.seed + count))
        named = {field: own.pop(field, None) for field in ("modes", "vary", "variants")}
        if named["modes"] in ((ALL_MODES,), [ALL_MODES]):
            named["modes"] = [mode for mode in examples() if _fits(kind, shared, mode)]
        own["variants"] = expand(**named, balance=balance is True)
        return validated(cls, {"run": run, **own})


def _fits(kind: type[RunSpec], shared: Mapping[str, Any], mode: str) -> bool:
    """Whether the shared fields are valid in `mode`."""
    try:
        kind.make({**shared, "mode": mode})
    except SpecError:
        return False
    return True


def spec_schema(kind: type[RunSpec] = RunSpec) -> dict[str, Any]:
    """JSON Schema of a spec file: the fields of a run and those of a comparison."""
    schema = kind.model_json_schema()
    comparison = CompareSpec.model_json_schema()["properties"]
    fields: dict[str, Any] = {"type": "object"}
    modes = {"type": "string", "anyOf": [{"pattern": row.form.pattern(family)} for family, row in MODES.items()]}
    number = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
    schema["properties"]["mode"] |= modes
    schema["properties"] |= {
        "modes": {
            "anyOf": [
                {"type": "array", "items": modes, "minItems": 1, "uniqueItems": True},
                {"const": [ALL_MODES]},
                {
                    "type": "object",
                    "propertyNames": modes,
                    "additionalProperties": {"anyOf": [fields, {"type": "null"}]},
                },
            ],
            "description": "Modes to compare, the baseline first, as a list or with fields for each.",
        },
        "vary": {
            "type": "object",
            "additionalProperties": {"type": "array", "minItems": 1},
            "description": "Values to compare, by field.",
        },
        "variants": {"type": "object", "additionalProperties": fields, "minProperties": 1},
        "seeds": {"anyOf": [comparison["seeds"], number]},
        "margin": comparison["margin"],
        **{name: comparison[name] for name in ("lr_scaling", "tune_lr")},
    }
    schema["title"] = "Regatta spec"
    return schema
