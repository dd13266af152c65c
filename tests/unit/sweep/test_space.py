"""The grammar of `--param`: what it reads, what it refuses, and the nearest form that it shows."""

from __future__ import annotations

import pytest

from orchestrator.errors import UsageError
from orchestrator.spec.sweep import filled
from orchestrator.sweep.space import Choices, Range, check_names, combinations, parse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("log:1e-4..1e-1", Range(1e-4, 1e-1, log=True)),
        ("0.1..0.5", Range(0.1, 0.5)),
        ("2..6", Range(2, 6, whole=True)),
        ("log:16..256", Range(16, 256, log=True, whole=True)),
        ("-1..1.5", Range(-1, 1.5)),
        (".1...5", Range(0.1, 0.5)),
        ("64,128,256", Choices((64, 128, 256))),
        ("sync,async", Choices(("sync", "async"))),
        ("0.1, 0.2", Choices((0.1, 0.2))),
        ("true,false", Choices((True, False))),
        ("local:4,local:16", Choices(("local:4", "local:16"))),
    ],
)
def test_values(text: str, values: Range | Choices) -> None:
    assert parse("p", text) == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1e-1..1e-4", "as in 1e-4..1e-1"),
        ("log:0..1", "begins above 0, as log:0.001..1 does"),
        ("1..1", "has to be smaller"),
        ("log:1e-4,1e-1", "here log:1e-4..1e-1"),
        ("1e-4...1e-1x", "LOW..HIGH"),
        ("log:a..b", "as in log:1e-4..1e-1"),
        ("64", "as in 64,128, or a range"),
        ("a", "as in log:1e-4..1e-1"),
        ("1,,2", "two values or more"),
        ("1,2,1", "given twice"),
        ("", "two values or more"),
        ("1..1e999", "has to be smaller"),
    ],
)
def test_what_is_refused_names_the_parameter_and_the_nearest_form(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"^param: p=") as caught:
        parse("p", text)
    assert words in caught.value.message


def test_names_are_fields_or_params_of_the_job() -> None:
    names = ["learning_rate", "batch-size", "hidden", "params.depth"]
    assert check_names(names, ["hidden", "depth"], "digits") == {
        "learning_rate": "learning_rate",
        "batch-size": "batch_size",
        "hidden": "params.hidden",
        "params.depth": "params.depth",
    }
    with pytest.raises(UsageError, match=r"'hiden' is neither .* Did you mean hidden\? .*those of digits are hidden"):
        check_names(["hiden"], ["hidden"], "digits")
    with pytest.raises(UsageError, match=r"train\.py has none"):
        check_names(["seed"], [], "train.py")
    with pytest.raises(UsageError, match="given twice"):
        check_names(["batch_size", "batch-size"], [], "digits")


def test_arguments_of_a_script_are_named_where_they_stand() -> None:
    args = ["--lr", "{lr}", "--shape={a}x{b}", "{}"]
    assert check_names(["lr", "b"], ["args", "fit"], "train.py", args) == {"lr": "args.lr", "b": "args.b"}
    assert check_names(["batch_size"], ["args"], "train.py", ["{batch_size}"]) == {"batch_size": "args.batch_size"}
    with pytest.raises(UsageError, match=r"'lr' is neither .*where its name stands: -- --x \{lr\}"):
        check_names(["lr"], ["args", "fit"], "train.py", ["--lr", "0.1"])
    assert filled(args, {"lr": 1e-05, "a": 2}) == ["--lr", "1e-05", "--shape=2x{b}", "{}"]
    assert parse("x", "true,1e-3,64,0.5", plain_values=False) == Choices(("true", "1e-3", 64, 0.5))


def test_combinations_that_can_share_a_session() -> None:
    rate, sizes, modes = Range(0.1, 1), Choices((8, 16)), Choices(("sync", "single"))
    assert combinations({"learning_rate": rate}) == [{}]
    assert combinations({"learning_rate": rate, "batch_size": sizes, "mode": modes}) == [
        {"batch_size": 8, "mode": "sync"},
        {"batch_size": 8, "mode": "single"},
        {"batch_size": 16, "mode": "sync"},
        {"batch_size": 16, "mode": "single"},
    ]
    assert combinations({"batch_size": Range(8, 16, whole=True)}) is None
    assert combinations({"params.hidden": sizes}) is None, "the evaluator has the model of one of them only"
