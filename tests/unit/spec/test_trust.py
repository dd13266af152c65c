"""What a spec file gives away counts only if the user confirms it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError, UsageError
from orchestrator.spec import trust
from orchestrator.spec.resolve import resolve_comparison, resolve_run
from orchestrator.spec.run import RunSpec

pytestmark = pytest.mark.unit

STRANGER = "10.9.8.7:6379"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "regatta" / "trust.yaml"


def refused(given: Mapping[str, Any], confirmed: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(SpecError) as error:
        trust.check(Path("their.yaml"), given, confirmed or {})
    return error.value.message


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("address", STRANGER, "--address"),
        ("address", "ray://10.9.8.7:10001", "--address"),
        ("env_secrets", ["AWS_SECRET_ACCESS_KEY"], "--env-secret"),
        ("mlflow", "http://10.9.8.7:5000", "--mlflow"),
        ("wandb", "somebody/boats", "--wandb"),
        ("checkpoints", "s3://bucket/x?endpoint_override=10.9.8.7:9000&scheme=http", "--checkpoints"),
        ("checkpoints", "hdfs://10.9.8.7/x", "--checkpoints"),
    ],
)
def test_a_file_alone_cannot_ask_for_it(name: str, value: Any, option: str) -> None:
    (text,) = value if isinstance(value, list) else (value,)
    for given in ({name: value}, {"vary": {name: [value]}}, {"variants": {"one": {name: value}}}):
        message = refused(given)
        assert f"their.yaml asks for {text}" in message
        assert f"confirm it with {option} {text}" in message
        assert "trust.yaml" in message
        trust.check(Path("their.yaml"), given, {name: value})
    assert refused({"vary": {name: [value]}}, {name: "another"})


@pytest.mark.parametrize(
    "given",
    [
        {"address": "auto"},
        {"address": None},
        {"checkpoints": "/data/checkpoints"},
        {"checkpoints": "s3://bucket/folder?region=eu-west-1"},
        {"env_secrets": []},
        {"workers": 4, "vary": {"batch_size": [1, 2]}, "variants": None},
    ],
)
def test_what_gives_nothing_away_needs_no_confirmation(given: dict[str, Any]) -> None:
    trust.check(Path("their.yaml"), given, {})


def test_a_flag_takes_the_place_of_what_the_file_says() -> None:
    trust.check(
        Path("their.yaml"),
        {"address": STRANGER, "env_secrets": ["A_SECRET"]},
        {"address": "auto", "env_secrets": ("B",)},
    )


def test_what_was_confirmed_once_is_remembered(config: Path) -> None:
    trust.remember(
        RunSpec.make({"job": "digits", "address": STRANGER, "env_secrets": ("HUB_TOKEN",), "checkpoints": "c"})
    )
    trust.check(Path("their.yaml"), {"address": STRANGER, "env_secrets": ["HUB_TOKEN"]}, {})
    assert refused({"address": "10.9.8.7:6380"})
    assert refused({"env_secrets": ["HUB_TOKEN", "OTHER_TOKEN"]}).count("OTHER_TOKEN") == 2
    assert config.stat().st_mode & 0o777 == 0o600
    before = config.read_text()
    trust.remember(RunSpec.make({"job": "digits", "address": STRANGER}))
    assert config.read_text() == before


@pytest.mark.parametrize("text", ["[", "- a", "address: x", "\0", "a: 1\na: 2"])
def test_a_list_that_is_none_is_refused(config: Path, text: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    with pytest.raises(UsageError, match=r"trust\.yaml"):
        trust.check(Path("their.yaml"), {"address": STRANGER}, {})


def test_a_list_that_others_could_have_written_does_not_count(config: Path, tmp_path: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(f"address: ['{STRANGER}']")
    config.chmod(0o666)
    with pytest.raises(UsageError, match="written by other users"):
        trust.check(Path("their.yaml"), {"address": STRANGER}, {})
    config.chmod(0o600)
    trust.check(Path("their.yaml"), {"address": STRANGER}, {})
    config.rename(tmp_path / "elsewhere")
    config.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="it is a link"):
        trust.check(Path("their.yaml"), {"address": STRANGER}, {})


def test_without_a_place_to_note_it_nothing_fails(config: Path) -> None:
    config.parent.parent.touch()
    trust.remember(RunSpec.make({"job": "digits", "address": STRANGER}))


def test_commands_ask_before_the_job_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"job: {tmp_path}/absent.py\naddress: {STRANGER}\n")
    for resolve in (resolve_run, resolve_comparison):
        with pytest.raises(SpecError, match="confirm it with --address"):
            resolve(str(tmp_path / "spec.yaml"), {})


def test_flags_that_confirm_a_file() -> None:
    values = {"job": "digits", "address": STRANGER, "env_secrets": ["A_SECRET", "B_SECRET"], "checkpoints": "s3://b/c"}
    assert trust.as_flags(values) == ["--address", STRANGER, "--env-secret", "A_SECRET", "--env-secret", "B_SECRET"]


@pytest.mark.parametrize(
    ("field", "uri"),
    [
        ("mlflow", "https://me:canary-5d1c@tracking.lab"),
        ("mlflow", "http://canary-5d1c@tracking.lab:5000/x"),
        ("checkpoints", "s3://key:canary-5d1c@bucket/x"),
    ],
)
def test_no_password_is_in_an_address(field: str, uri: str) -> None:
    """It would be in spec.yaml, TensorBoard and reports."""
    with pytest.raises(SpecError, match="credentials belong in the environment"):
        RunSpec.make({"job": "digits", field: uri})
    kept = "postgresql+psycopg2://me@db.lab/mlflow" if field == "mlflow" else "abfss://container@account/x"
    assert RunSpec.make({"job": "digits", field: kept})
