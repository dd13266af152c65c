"""Untrusted spec files: each is refused in one paragraph, or does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.spec.yaml import MAX_SPEC_BYTES
from tests.unit.security.conftest import Command, assert_harmless, assert_refused

# Not marked `unit`: it takes seconds, and the marked set has thirty.

TAGS = [
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/object/apply:subprocess.Popen [[touch, pwned]]",
    "!!python/object/new:os.system ['touch pwned']",
    "!!python/object:os.environ {}",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!!python/bytes YQ==",
    "!!python/complex 1+2j",
    "!!python/dict {a: 1}",
    "!!python/long 5",
    "!!binary R0lGODlhDAAMAIQAAP==",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!pairs [a: 1]",
    "!!timestamp 2026-01-01",
    "!!int '3'",
    "!!float 3",
    "!!bool yes",
    "!!null ''",
    "!!str 3",
    "!!seq []",
    "!!map {}",
    "!!merge <<",
    "!mine 3",
    "! 3",
    "!include /etc/passwd",
    "!ENV ${HOME}",
    "!Ref secret",
    "!<tag:yaml.org,2002:python/name:os.system> x",
    "!<!local> x",
    "!" + "x" * 5000 + " 1",
    "!\\x1b[2J 1",
]
ALIASES = [
    "{a: &a [x, x], b: [*a, *a]}",
    "&p {hidden: *p}",
    "{a: &a {b: *a}}",
    "[&a 1, *a]",
    "*nobody",
    "{? &k a : *k}",
    "[&" + "a" * 5000 + " 1, *" + "a" * 5000 + "]",
    "{a: &a " + "[" * 20 + "x" + "]" * 20 + ", b: *a}",
    "{<<: {hidden: 1}}",
    "{<<: [{a: 1}, {b: 2}]}",
    # The billion laughs, in one line and in nine.
    "{a: &a [x,x], b: &b [*a,*a], c: &c [*b,*b], d: &d [*c,*c], e: [*d,*d]}",
    "\n  a0: &a0 x\n" + "".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
]
DEEP = [
    "[" * 45 + "]" * 45,
    "[" * 20_000,
    "{a: " * 45 + "1" + "}" * 45,
    "{a: " * 10_000,
    "[{a: " * 5_000,
    "\n" + "".join(" " * i + "a:\n" for i in range(1, 400)),
    "\n  " + "- " * 10_000,
    "\n  " + "? " * 10_000,
    "{? {? {? {a: 1} : 2} : 3} : 4}",
]
NUMBERS = [
    "9" * 5000,
    "-" + "9" * 20_000,
    "0x" + "f" * 20_000,
    "0b" + "1" * 20_000,
    "0" + "7" * 20_000,
    "1" + ":59" * 6_000,
    "1" + "_000" * 6_000,
    "1e99999",
    "-1e99999",
    ".inf",
    "-.inf",
    ".nan",
    "1:30",
    "0o17",
    "1_0",
    "1e3",
    "-1",
    "0",
    "3.5",
    "true",
    "null",
    "2026-01-01",
    "2026-99-99",
    "2026-01-01T00:00:00." + "1" * 20_000,
    "'3; rm -rf /'",
    "[3]",
    "{a: 3}",
    '"\\uFF13"',
    '"\\u0663"',
]
TEXTS = [
    '"a\\0b"',
    '"a\\e[2Jb"',
    '"\\e]0;title\\a"',
    '"\\x9b2J"',
    '"a\\rb"',
    '"a\\nb"',
    '"a\\u202eb"',
    '"a\\u2028b"',
    '"\\ud800"',
    '"../../etc/passwd"',
    '"/etc/passwd"',
    '"$(touch pwned)"',
    '"`touch pwned`"',
    '"; touch pwned"',
    '"${jndi:ldap://evil}"',
    '"{{7*7}}"',
    '"%s%n%d"',
    "'<script>alert(1)</script>'",
    "'=cmd|calc'",
    "'../'",
    "'~'",
    "''",
    "' '",
    "'" + "x" * 20_000 + "'",
    "[]",
    "{}",
    "5",
]
WHOLE = [
    b"",
    b"\0",
    b"job: digits\0",
    b"\xff\xfe\0j\0o\0b",
    b"\xef\xbb\xbfjob: digits",
    b"job: \xff\xfe",
    b"job: d\xefgits",
    b"\x80" * 100,
    b"\x1b[2J",
    b"job: digits\n\x1b]0;owned\x07: 1",
    b"job: digits\n\x7f: 1",
    b"job: digits\n\xc2\x9b2J: 1",
    b"job: digits\n\xe2\x80\xae: 1",
    b"---\njob: digits\n---\njob: linear",
    b"%YAML 9.9\n---\njob: digits",
    b"%TAG ! tag:evil,2026:\n---\njob: !x digits",
    b"- job",
    b"digits",
    b"42",
    b"null",
    b"[job, digits]",
    b"{job: digits",
    b"job: 'digits",
    b'job: "\\q"',
    b"job: |\n",
    b"job: @digits",
    b"job: `digits`",
    b"job: digits: digits",
    b"\tjob: digits",
    b"job: digits\n job: x",
    b"job: digits\njob: linear",
    b"5: digits",
    b"yes: digits",
    b"[a]: digits",
    b"{a: b}: digits",
    b"=: digits",
    b"job: =",
    b"job: digits\n<<: {workers: 4}",
    b"job: digits\n__class__: x",
    b"job: digits\nmodel_config: {extra: allow}",
    b"job: digits\nCOMPARE_ONLY: []",
    b"job: digits\nWORKERS: 4",
    b"job: digits\n" + b"x" * 5000 + b": 1",
    b"job: digits\nparams: 5",
    b"job: digits\nparams: [a]",
    b"job: digits\nresources: {root: {cpu: 1}}",
    b"job: digits\nresources: {ps: {gpu: 8}}",
    b"job: digits\nprice: {gpu: -1}",
    b"job: digits\nworker_labels: {'a b': '$(x)'}",
    b'job: digits\nvariant: "a\\e[2J"',
    b"job: digits\nseeds: 3",
    b"job: 5",
    b"job: [digits]",
    b"job: null",
]


def written(tmp_path: Path, data: bytes | str) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return path


def nothing_else(tmp_path: Path) -> bool:
    return [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


@pytest.mark.parametrize("value", TAGS + ALIASES, ids=lambda value: ascii(value)[:30])
def test_tags_and_aliases_are_refused(regatta: Command, tmp_path: Path, value: str) -> None:
    assert_refused(regatta("plan", written(tmp_path, f"job: digits\nparams: {value}\n")))
    assert nothing_else(tmp_path)


@pytest.mark.parametrize("value", DEEP, ids=lambda value: ascii(value)[:30])
def test_deep_nesting_is_refused(regatta: Command, tmp_path: Path, value: str) -> None:
    assert_refused(regatta("plan", written(tmp_path, f"job: digits\nparams: {value}\n")))


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: ascii(value)[:30])
def test_numbers_that_are_none(regatta: Command, tmp_path: Path, value: str) -> None:
    assert_harmless(regatta("plan", written(tmp_path, f"job: digits\nworkers: {value}\n")))
    assert nothing_else(tmp_path)


@pytest.mark.parametrize("value", TEXTS, ids=lambda value: ascii(value)[:30])
@pytest.mark.parametrize("field", ["job", "run_id", "straggler", "variants"])
def test_texts_that_are_more_than_text(regatta: Command, tmp_path: Path, field: str, value: str) -> None:
    command = ("compare", "--quiet") if field == "variants" else ("plan",)
    text = f"{field}: {value}\n" if field == "job" else f"job: digits\n{field}: {value}\n"
    if command[1:]:  # to a path that cannot be written to, in case the command gets that far
        text += "out: spec.yaml/x\n"
    assert_harmless(regatta(*command, written(tmp_path, text)))
    assert nothing_else(tmp_path)


@pytest.mark.parametrize("data", WHOLE, ids=lambda data: ascii(data)[:30])
def test_files_that_are_no_spec(regatta: Command, tmp_path: Path, data: bytes) -> None:
    assert_harmless(regatta("plan", written(tmp_path, data)))
    assert nothing_else(tmp_path)


@pytest.mark.parametrize(
    "vary",
    [
        "{" + ", ".join(f"params.p{i}: [1, 2, 3, 4, 5, 6, 7, 8, 9]" for i in range(30)) + "}",
        "{workers: [" + "1, " * 5_000 + "]}",
        "{workers: [" + ", ".join(map(str, range(2_000))) + "]}",
        '{"params.\\e[2J": [1, 2]}',
        "{mode: [sync]}",
        "{seed: [1, 2]}",
        "{out: [a, b]}",
        "{workers: []}",
        "{workers: 5}",
        "{workers: '12'}",
        "{workers: [[1]]}",
        "{nothing: [1, 2]}",
    ],
    ids=lambda value: value[:30],
)
def test_comparisons_that_would_never_end(regatta: Command, tmp_path: Path, vary: str) -> None:
    assert_refused(regatta("compare", written(tmp_path, f"job: digits\nvary: {vary}\n")))
    assert nothing_else(tmp_path)


@pytest.mark.parametrize("size", [MAX_SPEC_BYTES + 1, 100 << 20, 1 << 40])
def test_files_that_are_too_large(regatta: Command, tmp_path: Path, size: int) -> None:
    """The files are sparse, so they occupy no disk; they are refused without being read."""
    path = written(tmp_path, "job: digits\n")
    os.truncate(path, size)
    assert_refused(regatta("plan", path))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop", "dangling", "endless", "shadow", "root"])
def test_what_is_no_file(regatta: Command, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spec.yaml"
    links = {"loop": path, "dangling": tmp_path / "x", "endless": "/dev/zero", "shadow": "/etc/passwd", "root": "/"}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in links:
        path.symlink_to(links[kind])
    said = regatta("plan", path)
    assert_refused(said)
    assert "root:" not in said.err.replace("root: ", "")  # no line of the link's target
