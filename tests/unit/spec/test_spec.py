"""The spec: what is allowed, the messages about everything else, and that it is read back as it was written."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import SpecError
from orchestrator.metric_target import MetricTarget
from orchestrator.spec.comparison import MAX_SEEDS, CompareSpec, spec_schema
from orchestrator.spec.run import RunSpec
from workers.modes.registry import examples

pytestmark = pytest.mark.unit

METRICS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_/.-]{0,20}", fullmatch=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TARGETS = st.builds(lambda m, op, v: f"{m}{op}{v!r}", METRICS, st.sampled_from([">=", "<=", ">", "<"]), FINITE)
COUNTS = st.integers(1, 2**53 - 1)


SCHEMA = jsonschema.Draft202012Validator(spec_schema())


def run_fields(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "params": st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | FINITE | st.text(max_size=9)),
        "mode": st.sampled_from(["sync", "async"]),
        "workers": st.integers(1, 1024),
        "ps": st.integers(1, 256),
        "cpus_per_task": st.floats(0.01, 1024),
        "batch_size": COUNTS,
        "samples": st.none() | COUNTS,
        "target": st.none() | TARGETS,
        "eval_every": st.none() | COUNTS,
        "seed": st.integers(0, 2**31 - 1),
        "steps_per_call": st.none() | COUNTS,
        "sharding": st.sampled_from(["auto", "off"]),
        "run_id": st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True),
        "timeout": st.none() | st.floats(0.001, 1e9),
    }
    return st.fixed_dictionaries({"job": st.just("digits")}, optional=optional).map(lambda fields: fields | fixed)


@given(run_fields())
@settings(deadline=None)
def test_a_resolved_spec_is_the_same_spec(fields: dict[str, Any]) -> None:
    spec = RunSpec.make(fields)
    written = json.loads(json.dumps(spec.resolved()))
    assert RunSpec.make(written) == spec
    assert set(written) == set(RunSpec.model_fields)


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RunSpec.make({"job": "digits"}).workers = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        CompareSpec.make({"job": "digits"}).seeds = (1,)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("job", "", "at least 1 character"),
        ("job", "x" * 5000, "at most 4096"),
        ("job", "dig\0its", "control characters"),
        ("job", 3, "valid string"),
        ("directory", "a\0b", "control characters"),
        ("out", "a\x1b[31m", "control characters"),
        ("out", "\udcff", "not text"),
        ("address", "a\nb", "control characters"),
        ("mode", "sycn", "'single' or 'sync' or 'async'"),
        ("workers", 0, "greater than or equal to 1"),
        ("workers", "many", "valid integer"),
        ("workers", 1.5, "valid integer"),
        ("workers", 10**400, "less than or equal to 1024"),
        ("ps", -1, "greater than or equal to 0"),
        ("gpus_per_worker", -1, "greater than or equal to 0"),
        ("cpus_per_task", 0, "greater than 0"),
        ("cpus_per_task", math.nan, "less than or equal to 1024"),
        ("cpus_per_task", math.inf, "less than or equal to 1024"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("samples", 0, "greater than or equal to 1"),
        ("samples", 10**400, "less than 9007199254740992"),
        ("epochs", 0, "greater than 0"),
        ("epochs", math.inf, "less than or equal to 1000000000"),
        ("epochs", math.nan, "less than or equal to 1000000000"),
        ("eval_every", 0, "greater than or equal to 1"),
        ("steps_per_call", 0, "greater than or equal to 1"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**31, "less than 2147483648"),
        ("sharding", "on", "'auto', "),
        ("timeout", 0, "greater than 0"),
        ("timeout", math.inf, "less than or equal to"),
        ("launch_timeout", math.inf, "less than or equal to"),
        ("target", "accuracy", "val_accuracy>=0.95"),
        ("target", "acc=>0.9", "val_accuracy>=0.95"),
        ("target", "acc>=1e999", "too large"),
        ("target", "acc>=nan", "METRIC>=NUMBER"),
        ("run_id", "../up", "letters, digits"),
        ("run_id", "a/b", "letters, digits"),
        ("run_id", ".", "letters, digits"),
        ("run_id", ".hidden", "letters, digits"),
        ("run_id", "-rf", "letters, digits"),
        ("run_id", "a\n", "letters, digits"),
        ("run_id", "a\0", "letters, digits"),
        ("run_id", "x" * 101, "up to 100"),
        ("run_id", "", "letters, digits"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_allowed(field: str, value: object, allowed: str) -> None:
    with pytest.raises(SpecError, match=re.escape(allowed)) as caught:
        RunSpec.make({"job": "digits", field: value})
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    if not isinstance(value, str) or len(value) < 80:
        assert repr(value)[:70] in caught.value.message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("worker", "did you mean 'workers'?"),
        ("batchsize", "did you mean 'batch_size'?"),
        ("seeds", "regatta compare"),
        ("modes", "regatta compare"),
        ("zzz", "Fields: job, directory"),
    ],
)
def test_an_unknown_key_is_refused(key: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        RunSpec.make({"job": "digits", key: 1})
    assert caught.value.field == key


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"mode": "async", "ps": 0}, "ps"), ({"samples": 10, "epochs": 2}, "epochs")],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.make({"job": "digits", **fields})
    assert caught.value.field == field


def test_sync_mode_works_without_ps() -> None:
    assert RunSpec.make({"job": "digits", "mode": "sync", "ps": 0}).ps == 0


@given(METRICS, st.sampled_from([">=", "<=", ">", "<"]), FINITE)
@settings(deadline=None)
def test_a_target_is_kept_to_the_last_digit(metric: str, op: str, value: float) -> None:
    target = MetricTarget.parse(f" {metric} {op} {value!r} ")
    assert (target.metric, target.op, target.value) == (metric, op, value)
    assert MetricTarget.parse(str(target)) == target
    assert RunSpec.make({"job": "digits", "target": str(target)}).parsed_target == target


def test_targets_print_as_typed() -> None:
    for text in ("val_accuracy>=0.95", "val_loss<0.123456789", "val_accuracy>=1"):
        assert str(MetricTarget.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "below", "at", "above"),
    [
        ("m>=1", False, True, True),
        ("m>1", False, False, True),
        ("m<=1", True, True, False),
        ("m<1", True, False, False),
    ],
)
def test_when_a_target_is_met(text: str, below: bool, at: bool, above: bool) -> None:
    target = MetricTarget.parse(text)
    assert [target.met_by(value) for value in (0.5, 1.0, 1.5)] == [below, at, above]
    assert not target.met_by(math.nan)


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("accuracy>=0.95", 0.949999988079071, True),  # 342 of 360 in single precision
        ("accuracy>0.95", 0.949999988079071, False),
        ("accuracy>=0.95", 0.9499999, False),
        ("loss<=0.1", 0.10000000149011612, True),
        ("loss<0.1", 0.10000000149011612, False),
        ("loss<=1e300", 1e299, True),
    ],
)
def test_a_target_is_compared_in_the_precision_of_metrics(text: str, value: float, met: bool) -> None:
    assert MetricTarget.parse(text).met_by(value) is met


@given(run_fields(mode="sync"), st.integers(1, 50))
@settings(deadline=None)
def test_runs_of_a_comparison_differ_in_mode_and_seed_only(fields: dict[str, Any], count: int) -> None:
    first = fields["seed"] = min(fields.get("seed", 0), 2**31 - 1 - count)
    spec = CompareSpec.make(fields | {"seeds": count})
    assert spec.seeds == tuple(range(first, first + count))
    own = {"mode", "seed", "variant", "files_apart"}
    alone = {"workers", "min_workers", "batch_size"}
    for mode in spec.variants:
        run = spec.variant(mode, spec.seeds[-1])
        assert (run.mode, run.seed, run.variant) == (mode, spec.seeds[-1], mode)
        differ = own | (alone if mode == "single" else set())
        assert run.model_dump(exclude=differ) == spec.run.model_dump(exclude=differ)
    single, sync = (spec.variant(mode, first) for mode in ("single", "sync"))
    assert (single.workers, single.samples_per_update) == (1, sync.samples_per_update)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"seeds": 0}, "seeds", "from 1 to 1000"),
        ({"seeds": -3}, "seeds", "from 1 to 1000"),
        ({"seeds": MAX_SEEDS + 1}, "seeds", "from 1 to 1000"),
        ({"seeds": 10**12}, "seeds", "from 1 to 1000"),
        ({"seeds": True}, "seeds", "from 1 to 1000"),
        ({"seeds": 2.5}, "seeds", "valid list"),
        ({"seeds": "0,1"}, "seeds", "valid list"),
        ({"seeds": []}, "seeds", "at least 1 item"),
        ({"seeds": [0, -1]}, "seeds.1", "greater than or equal to 0"),
        ({"seeds": [0, 2**31]}, "seeds.1", "less than 2147483648"),
        ({"seeds": 2, "seed": 2**31 - 1}, "seeds.1", "less than 2147483648"),
        ({"seeds": [4, 4]}, "seeds", "twice"),
        ({"modes": "sync"}, "modes", "give a list"),
        ({"modes": 5}, "modes", "give a list"),
        ({"modes": []}, "modes", "give a list"),
        ({"modes": ["sync", "sycn"]}, "modes", "'sync' or 'async'"),
        ({"modes": {"async": {"workres": 3}}}, "workres", "did you mean 'workers'?"),
        ({"modes": ["sync"], "variants": {"a": {}}}, "variants", "together with modes"),
        ({"vary": {"workers": 3}}, "vary.workers", "give a list"),
        ({"vary": {"workers": [1, 1]}}, "vary.workers", "twice"),
        ({"variants": {"a\nb": {}}}, "variants", "control characters"),
        ({"margin": 0}, "margin", "greater than 0"),
        ({"modes": ["sync", "sync"]}, "modes", "twice"),
        ({"ps": 0}, "ps", "mode async"),
        ({"worker": 3}, "worker", "did you mean 'workers'?"),
    ],
)
def test_an_invalid_comparison_is_refused(fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        CompareSpec.make({"job": "digits", **fields})
    assert caught.value.field == field


def test_a_comparison_of_one_mode_needs_only_what_that_mode_needs() -> None:
    assert CompareSpec.make({"job": "digits", "modes": ["sync"], "ps": 0}).baseline == "sync"


def test_values_of_a_field_are_compared_in_every_mode() -> None:
    spec = CompareSpec.make({"job": "digits", "vary": {"workers": ["1", "2"], "params.hidden": [64]}})
    assert list(spec.variants) == [
        "single hidden=64",
        "sync workers=1 hidden=64",
        "sync workers=2 hidden=64",
        "async workers=1 hidden=64",
        "async workers=2 hidden=64",
    ]
    run = spec.variant("async workers=2 hidden=64", 7)
    assert (run.mode, run.workers, run.params["hidden"], run.seed) == ("async", 2, 64, 7)
    assert run.label == "async-workers-2-hidden-64-s7"


def test_one_mode_can_have_fields_of_its_own() -> None:
    spec = CompareSpec.make({"job": "digits", "modes": {"sync": None, "async": {"learning_rate": 0.1, "epochs": 2}}})
    assert spec.variant("sync", 0).learning_rate is None
    own = spec.variant("async", 0)
    assert (own.learning_rate, own.epochs) == (0.1, 2)


def test_specs_made_in_python_are_validated_too() -> None:
    with pytest.raises(SpecError, match="ps: 0"):
        RunSpec(job="digits", mode="async", ps=0)
    with pytest.raises(SpecError, match="ps: 0"):
        CompareSpec(run=RunSpec(job="digits", ps=0))


def test_the_schema_is_valid() -> None:
    SCHEMA.check_schema(SCHEMA.schema)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"workers": 4, "params": {"hidden": 64}, "target": "val_loss<=1"},
        {"samples": None, "epochs": 2.5},
        {"seeds": 3},
        {"global_batch_size": 128, "lr_scaling": "sqrt"},
        {"seeds": [1, 5], "modes": ["async", "sync"]},
        {"modes": {"async": {"learning_rate": 0.1}}, "margin": 0.01, "tune_lr": True},
        {"vary": {"workers": [1, 2]}, "straggler": "persistent:worker=0,factor=2", "price": {"cpu": 0.04}},
        {"variants": {"small": {"batch_size": 16}, "large": {"batch_size": 64}}},
    ],
)
def test_the_schema_accepts_valid_specs(fields: dict[str, Any]) -> None:
    SCHEMA.validate({"job": "digits", **fields})
    CompareSpec.make({"job": "digits", **fields})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"job": 3},
        {"job": "digits", "worker": 4},
        {"job": "digits", "workers": 0},
        {"job": "digits", "samples": 0},
        {"job": "digits", "seeds": 0},
        {"job": "digits", "seeds": 10**9},
        {"job": "digits", "seeds": []},
        {"job": "digits", "modes": ["sycn"]},
    ],
)
def test_the_schema_refuses_invalid_specs(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(document)
    with pytest.raises(SpecError):
        CompareSpec.make(document)


def test_a_global_batch_is_shared_by_the_replicas_of_each_variant() -> None:
    spec = CompareSpec.make({"job": "digits", "global_batch_size": 64, "vary": {"workers": [1, 2, 4]}})
    shared = {name: spec.variant(name, 0).batch_size for name in spec.variants}
    assert [shared[f"sync workers={n}"] for n in (1, 2, 4)] == [64, 32, 16]
    assert {shared[f"async workers={n}"] for n in (1, 2, 4)} == {64}
    own = CompareSpec.make({"job": "digits", "global_batch_size": 64, "vary": {"batch_size": [8]}})
    assert own.variant("sync batch_size=8", 0).batch_size == 8
    again = RunSpec.make(spec.variant("sync workers=4", 0).resolved())
    assert (again.batch_size, again.global_batch_size) == (16, 64)
    with pytest.raises(SpecError, match="64 cannot be shared equally by 3 replicas"):
        RunSpec.make({"job": "digits", "global_batch_size": 64, "workers": 3})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"workers": 2, "mode": "backup:2"}, "workers: 2 is too few for mode backup:2, which does without 2"),
        ({"workers": 3, "min_workers": 1, "mode": "backup:1"}, "min_workers: 1 is too few for mode backup:1"),
        (
            {"workers": 2, "gpus_per_worker": 2, "mode": "kasync:2"},
            "does not work with mode kasync:2",
        ),
    ],
)
def test_what_modes_with_numbers_need(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        RunSpec.make({"job": "digits", **fields})


def test_without_backup_workers_it_is_laid_out_as_sync() -> None:
    none, sync = (RunSpec.make({"job": "digits", "mode": mode, "workers": 3}) for mode in ("backup:0", "sync"))
    assert none.traits is sync.traits
    assert RunSpec.make({"job": "digits", "mode": "backup:2", "workers": 3}).traits.chief


def test_a_mode_that_changes_on_the_way_is_laid_out_for_both() -> None:
    spec = RunSpec.make({"job": "digits", "mode": "switch:0.5", "workers": 3, "global_batch_size": 96})
    assert [(stage.mode, stage.samples_per_update) for stage in spec.stages] == [("sync", 96), ("async", 32)]
    assert (spec.batch_size, spec.samples_per_update) == (32, 96)
    other = RunSpec.make({"job": "digits", "mode": "switch:0.5,from=async", "workers": 3, "global_batch_size": 96})
    assert [(stage.mode, stage.samples_per_update) for stage in other.stages] == [("async", 96), ("sync", 288)]
    whole = RunSpec.make({"job": "digits", "mode": "switch:1", "workers": 3, "balance": True, "ps": 0})
    assert whole.traits is RunSpec.make({"job": "digits", "mode": "sync"}).traits
    with pytest.raises(SpecError, match=r"checkpoint_seconds: 0 does not work with mode switch:0\.5"):
        RunSpec.make({"job": "digits", "mode": "switch:0.5", "checkpoint_seconds": 0})
    assert RunSpec.make({"job": "digits", "mode": "switch:0.5", "checkpoint_seconds": 0, "checkpoint_every": 100})


@pytest.mark.parametrize(("fields", "left_out"), [({"workers": 3}, set()), ({"workers": 1}, {"backup:1"})])
def test_all_modes_are_those_that_fit(fields: dict[str, Any], left_out: set[str]) -> None:
    spec = CompareSpec.make({"job": "digits", "modes": ("all",), **fields})
    assert set(examples()) - set(spec.variants) == left_out
