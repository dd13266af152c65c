"""Secrets from environment variables: which names are accepted, and how values are masked in logs and failures."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.flags import to_fields
from orchestrator.errors import JobError, SpecError
from orchestrator.plan.topology import training_plans
from orchestrator.runs.managed_group import assigner
from orchestrator.spec import secrets
from orchestrator.spec.run import RunSpec
from workers.masking import Mask
from workers.messages import FailureKind, Task, TaskFailure

# Not marked `unit`: it takes seconds, and the marked set has thirty.

VALUE = "p@ss'wörd\\ 1/2"
MULTILINE = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "said",
    [
        VALUE,
        f"token={VALUE}&x",
        repr(VALUE),
        repr({"key": VALUE}),
        json.dumps(VALUE),
        json.dumps({"key": VALUE}, ensure_ascii=False),
        f"https://u:{quote(VALUE, safe='')}@host",
        base64.b64encode(VALUE.encode()).decode(),
        VALUE * 3,
    ],
)
def test_every_form_is_masked(said: str) -> None:
    mask = Mask({"HUB": VALUE})
    for masked in (mask.text(said), mask.log(said.encode(), ended=True).decode()):
        assert "[secret HUB]" in masked
        assert "wörd" not in masked
        assert "1/2" not in masked
        assert "w\\" not in masked
    failure = TaskFailure(Task("worker", 0), FailureKind.USER, said, f"Traceback\n{said}", said)
    assert "1/2" not in str(mask.failure(failure))


def json_in_json(value: str) -> str:
    return json.dumps({"body": json.dumps({"key": value})})


ENCODINGS = {
    "plain": str,
    "repr": repr,
    "JSON": json.dumps,
    "JSON in JSON": json_in_json,
    "JSON of letters": lambda value: json.dumps(value, ensure_ascii=False),
    "upper-case escapes": lambda value: re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda m: m[0].upper(), json.dumps(value)),
    "query": lambda value: f"?key={quote_plus(value)}&x=1",
    "lower-case query": lambda value: re.sub("%..", lambda m: m[0].lower(), f"?key={quote(value, safe='')}"),
    "user info": lambda value: "https://me:" + quote(value, safe="!$&'()*+,;=") + "@host",
    "Basic of 1": lambda value: base64.b64encode(f"a:{value}".encode()).decode(),
    "Basic of 2": lambda value: base64.b64encode(f"ab:{value}".encode()).decode(),
    "Basic of 3": lambda value: base64.b64encode(f"abc:{value}x".encode()).decode(),
    "URL-safe base64": lambda value: base64.urlsafe_b64encode(f"{value}".encode()).decode(),
    "wrapped base64": lambda value: base64.encodebytes(f"{'x' * 50}{value}{'y' * 50}".encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "upper-case hex": lambda value: value.encode().hex().upper(),
    "bytes": lambda value: repr(value.encode()),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=12, max_size=80), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_a_secret_is_masked_in_every_encoding(encoding: str, value: str, cut: int) -> None:
    said = ENCODINGS[encoding](value)
    mask = Mask({"HUB": value})
    log = said.encode()
    pieces = mask.log(log[:cut], ended=False) + mask.log(log[cut:], ended=False) + mask.log(b"", ended=True)
    for masked in (mask.text(said), pieces.decode()):
        assert "[secret HUB]" in masked
        rest = masked.replace("[secret HUB]", "")
        assert value not in rest
        assert len(rest) < 150, "what is left is what was around it"


def test_a_param_that_holds_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    secrets.check_params({"rate": 0.1, "key": None}, ["HUB_TOKEN"])
    for value in ("canary-5d1c", {"auth": ["x", "Bearer canary-5d1c"]}, b"canary-5d1c"):
        with pytest.raises(SpecError, match=r"^params\.key: it contains a secret") as refused:
            secrets.check_params({"key": value}, ["HUB_TOKEN"])
        assert "canary" not in refused.value.message


def test_an_error_of_a_validator_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    error = secrets.masked(SpecError("params.key", "'canary-5d1c' is not allowed"), ["HUB_TOKEN"])
    assert error.message == "params.key: '[secret HUB_TOKEN]' is not allowed"
    assert str(error) == error.message


@pytest.mark.parametrize("said", [MULTILINE, repr(MULTILINE), *MULTILINE.splitlines()])
def test_each_line_of_a_multiline_secret_is_masked(said: str) -> None:
    masked = Mask({"KEY": MULTILINE}).text(said)
    assert "[secret KEY]" in masked
    assert "MIIE" not in masked
    assert "kqhk" not in masked


def test_without_secrets_nothing_changes() -> None:
    mask = Mask({})
    assert mask.log(b"\xff any", ended=False) == b"\xff any"
    assert mask.text("any\ud800") == "any\ud800"
    assert Mask({"A": "canary"}).text("\ud800 canary") == "\ud800 [secret A]"


SECRETS = {"FIRST": "abcabd", "SECOND": "abcabdabcabc", "THIRD": "ccccccc"}


@given(st.lists(st.sampled_from([*SECRETS.values(), "abc", "ab", "c", "x", "\n", "é"]), max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_a_log_in_pieces_reveals_no_secret(parts: list[str], data: st.DataObject) -> None:
    log = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=6)))
    pieces = [log[a:b] for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    mask = Mask(SECRETS)
    masked = b"".join([*(mask.log(piece, ended=False) for piece in pieces), mask.log(b"", ended=True)])
    assert not any(value.encode() in masked for value in SECRETS.values())
    if not any(value.encode() in log for value in SECRETS.values()):
        assert masked == log


def test_a_possible_beginning_of_a_secret_is_held_back() -> None:
    mask = Mask({"A": "canary-5d1c"})
    assert mask.log(b"see cana", ended=False) == b"see "
    assert mask.log(b"", ended=False) == b""
    assert mask.log(b"ries sing", ended=False) == b"canaries sing"
    assert mask.log(b" canary-5d1", ended=False) == b" "
    assert mask.log(b"c!", ended=False) == b"[secret A]!"
    assert mask.log(b"canary", ended=False) == b""
    assert mask.log(b"", ended=True) == b"canary"


@pytest.mark.parametrize(
    "name",
    ["", "a=b", "A B", "A-B", "1A", "\x1b", "PATH", "HOME", "TF_CONFIG", "RAY_AUTH_TOKEN", "LD_PRELOAD", "PYTHONPATH",
     "REGATTA_SESSION", "KERAS_BACKEND", "x" * 200],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"^env_secrets: ") as refused:
        RunSpec.make({"job": "digits", "env_secrets": [name]})
    assert "\x1b" not in refused.value.message


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    monkeypatch.setenv("SHORT", "1234")
    monkeypatch.setenv("LONG", "x" * 70_000)
    monkeypatch.delenv("NOWHERE", raising=False)
    assert secrets.values(["HUB_TOKEN"]) == {"HUB_TOKEN": "canary-5d1c"}
    for name, words in [("NOWHERE", "NOWHERE is not set"), ("SHORT", "fewer than 6"), ("LONG", "too many")]:
        with pytest.raises(SpecError, match=words) as refused:
            secrets.values([name])
        assert "1234" not in refused.value.message


def test_the_spec_and_the_assignment_do_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    spec = RunSpec.make({"job": "digits", **to_fields({"env_secrets": ["HUB_TOKEN"]}), "target": None})
    assert spec.resolved()["env_secrets"] == ["HUB_TOKEN"]
    assert "canary" not in f"{spec!r}{spec.resolved()}"
    plans = training_plans(spec)
    assignment = assigner(spec, plans)(plans[0].task, {plan.task: f"h:{i}" for i, plan in enumerate(plans)})
    assert assignment.secrets == {"HUB_TOKEN": "canary-5d1c"}
    assert "canary" not in repr(assignment)


def test_a_job_that_fails_as_it_is_loaded_gives_none_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "canary-5d1c")
    error = secrets.masked(JobError("bad canary-5d1c", "line: 'canary-5d1c'"), ["HUB_TOKEN", "NOWHERE"])
    assert isinstance(error, JobError)
    assert (error.message, error.traceback) == ("bad [secret HUB_TOKEN]", "line: '[secret HUB_TOKEN]'")
