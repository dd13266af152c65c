"""Variants of a comparison: by name, the fields that differ from the shared run. Pure.

    modes: [sync, async]                                two variants, `sync` and `async`
    modes: {sync: {}, async: {learning_rate: 0.001}}    the same, with another learning rate for one of them
    vary: {workers: [1, 2, 4]}                          every mode with every value: `sync workers=1`, ...; `single`
                                                        has no number of workers, so that it is there once
    vary: {params.loop: [fit, custom]}                  a param of the job
    variants: {small: {batch_size: 16}, large: {...}}   any fields, by variant name

The first variant is the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.spec.earlier_fits import as_given
from workers.modes.registry import COMPARED_BY_DEFAULT, MODES, examples, traits, values_of

Overrides = Mapping[str, Any]
COMPARISON_FIELDS = ("modes", "vary", "variants", "seeds", "margin", "lr_scaling", "tune_lr")
"""Fields that a comparison has and a run has not."""
MAX_VARIANTS = 50
ALL_MODES = "all"
"""Given instead of modes: one of each family."""
ALTERNATIVES = (("samples", "epochs"), ("batch_size", "global_batch_size"))
"""Fields of which one is given: either replaces the other."""
_NOT_FOR_VARIANTS = {"job", "directory", "seed", "variant", "out", "run_id", "address", "timeout"}
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")


def expand(
    modes: Sequence[str] | Mapping[str, Overrides] | None,
    vary: Mapping[str, Sequence[Any]] | None,
    variants: Mapping[str, Overrides] | None,
    *,
    balance: bool = False,
) -> dict[str, dict[str, Any]]:
    """Overridden fields by variant name, in order; their values are validated with the spec of each variant.

    `balance` adds a variant such as `sync --balance` after each mode that can be balanced.

    Raises:
        SpecError: a variant has no valid or no unique name, or there are too many.
    """
    for field, value in (("vary", vary), ("variants", variants)):
        if value is not None and not isinstance(value, Mapping):
            raise SpecError(field, f"{value!r} is not allowed: give a mapping")
    if variants is not None:
        if modes is not None or vary:
            raise SpecError("variants", "given together with modes or vary: give either variants, or modes and vary")
        expanded = {name: dict(_mapping(f"variants.{name}", overrides)) for name, overrides in variants.items()}
    else:
        expanded = dict(_combine(_by_mode(modes, balance), vary or {}))
    if not 1 <= len(expanded) <= MAX_VARIANTS:
        raise SpecError("variants", f"there are {len(expanded)}: give 1 to {MAX_VARIANTS}")
    for name, overrides in expanded.items():
        for field in _NOT_FOR_VARIANTS.intersection(overrides):
            raise SpecError(f"variants.{name}.{field}", f"{field} cannot differ between variants")
        if not _NAME.fullmatch(name):
            raise SpecError(
                "variants", f"{name!r} is not allowed as a name: up to 80 characters, no control characters"
            )
    if len({file_name(name) for name in expanded}) < len(expanded):
        raise SpecError("variants", f"{', '.join(expanded)}: two of these have the same file name; rename one")
    return expanded


def file_name(variant: str) -> str:
    """A variant's name as part of a file name: `sync workers=2` becomes `sync-workers-2`."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", variant).strip("-.") or "variant"


def merge(run: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """The fields of `run` with a variant's overrides; `params` and `params.x` replace single params of the job."""
    merged = dict(run)
    for field, value in overrides.items():
        if field.startswith("params."):
            merged["params"] = {**merged.get("params", {}), field.removeprefix("params."): value}
        elif field == "params":
            merged["params"] = {**merged.get("params", {}), **_mapping("params", value)}
        else:
            merged[field] = value
    for one, other in (*ALTERNATIVES, *(pair[::-1] for pair in ALTERNATIVES)):
        if overrides.get(one) is not None and overrides.get(other) is None:
            merged.pop(other, None)
    return merged | ({"params": as_given(merged["params"], overrides)} if merged.get("params") else {})


def _by_mode(modes: Sequence[str] | Mapping[str, Overrides] | None, balance: bool) -> dict[str, dict[str, Any]]:
    chosen = _chosen_modes(modes)
    if not balance:
        return chosen
    if not any(traits(mode).balances for mode in chosen):
        able = " or ".join(mode for mode, row in MODES.items() if row.balances)
        raise SpecError("balance", f"is for mode {able}, which is not among the compared modes")
    variants: dict[str, dict[str, Any]] = {}
    for mode, own in chosen.items():
        variants[mode] = own
        if traits(mode).balances:
            variants[f"{mode} --balance"] = {**own, "balance": True}
    return variants


def _chosen_modes(modes: Sequence[str] | Mapping[str, Overrides] | None) -> dict[str, dict[str, Any]]:
    if modes is None:
        modes = COMPARED_BY_DEFAULT
    if isinstance(modes, str) or not isinstance(modes, Mapping | Sequence) or not modes:
        raise SpecError("modes", f"{modes!r} is not allowed: give a list, such as [single, sync]")
    if not isinstance(modes, Mapping) and list(modes) == [ALL_MODES]:
        modes = examples()
    for name in modes:
        try:
            values_of(str(name))
        except ValueError as error:
            raise SpecError("modes", f"{name!r} is not allowed: {error}") from None
    if isinstance(modes, Mapping):
        return {name: {"mode": name, **_mapping(f"modes.{name}", own or {})} for name, own in modes.items()}
    if len(set(modes)) < len(modes):
        raise SpecError("modes", f"{list(modes)} contains a mode twice")
    return {name: {"mode": name} for name in modes}


def _combine(
    modes: Mapping[str, dict[str, Any]], vary: Mapping[str, Sequence[Any]]
) -> Iterable[tuple[str, dict[str, Any]]]:
    for field, values in vary.items():
        if field == "mode":
            raise SpecError("vary.mode", "give modes instead")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SpecError(f"vary.{field}", f"{values!r} is not allowed: give a list of values")
        if len({repr(value) for value in values}) != len(values):
            raise SpecError(f"vary.{field}", f"{list(values)} contains a value twice")
    count = prod(map(len, (modes, *vary.values())))
    if count > MAX_VARIANTS:  # checked before combining, because a few lists can have millions of combinations
        raise SpecError("vary", f"gives {count:,} variants; the limit is {MAX_VARIANTS}")
    for (mode, own), values in product(modes.items(), product(*vary.values())):
        chosen = dict(zip(vary, values, strict=True))
        if traits(own["mode"]).alone:
            chosen.pop("workers", None)
        label = " ".join(f"{field.removeprefix('params.')}={value}" for field, value in chosen.items())
        yield " ".join(filter(None, (mode, label))), {**own, **chosen}


def _mapping(field: str, value: object) -> Overrides:
    if not isinstance(value, Mapping):
        raise SpecError(field, f"{value!r} is not allowed: give fields and their values")
    return value
