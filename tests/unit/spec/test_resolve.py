"""Resolution of a spec from job reference, file and flags: precedence, hostile files, and loading of the job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import JobError, SpecError, UsageError
from orchestrator.spec import resolve as module
from orchestrator.spec.job_description import shows_output
from orchestrator.spec.resolve import JobDescription, describe_job, resolve_comparison, resolve_run
from orchestrator.spec.run import RunSpec
from orchestrator.spec.yaml import MAX_SPEC_BYTES, read_mapping

Write = Callable[[str], Path]
DEFAULTS = {"batch_size": 16, "samples": 500, "target": "val_accuracy>=0.9"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return path

    return to_file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Replaces the child process: every job has DEFAULTS and a param `hidden`."""
    questions: list[tuple[Any, ...]] = []

    def describe(
        job: str, directory: str, params: dict[str, Any], *, here: bool, within: float | None = None
    ) -> JobDescription:
        questions.append((job, directory, params))
        return JobDescription(job, "", DEFAULTS, {"hidden": 128, **params}, {})

    monkeypatch.setattr(module, "describe_job", describe)
    return questions


def test_flags_win_over_yaml_and_yaml_over_the_jobs_defaults(write: Write, asked: list[Any]) -> None:
    path = write("job: digits\nworkers: 3\nbatch_size: 64\nparams: {hidden: 8, rate: 1}\n")
    spec = resolve_run(str(path), {"workers": 5, "ps": None, "params": {"hidden": "9"}})
    assert (spec.workers, spec.batch_size, spec.samples, spec.target) == (5, 64, 500, "val_accuracy>=0.9")
    assert dict(spec.params) == {"hidden": "9", "rate": 1}
    assert asked == [("digits", str(path.parent), {"hidden": "9", "rate": 1})]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mode": "async"}, ["in async, fit's batch size of 32 is that of each worker's update"]),
        ({"mode": "async", "workers": 1}, []),
        ({"mode": "async", "batch_size": 8}, []),
        ({"mode": "sync"}, []),
    ],
)
def test_whose_batch_size_a_scripts_is_is_said_once(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], said: list[str]
) -> None:
    found = JobDescription("train.py", "", {"global_batch_size": 32, "epochs": 2}, {}, {})
    monkeypatch.setattr(module, "describe_job", lambda *_, **__: found)
    lines: list[str] = []
    monkeypatch.setattr(module, "tell", ContextVar("tell", default=lines.append))
    resolve_run("train.py", flags)
    assert [line.partition(", not of all")[0] for line in lines] == said
    lines.clear()
    resolve_comparison(
        "train.py", {**flags, "mode": None, "modes": list(dict.fromkeys(["single", "sync", flags["mode"]]))}
    )
    assert len(lines) == len(said)


def test_none_switches_the_jobs_target_off(asked: list[Any]) -> None:
    assert resolve_run("digits", {"target": "none"}).target is None


def test_the_jobs_validated_params_are_kept(asked: list[Any]) -> None:
    assert dict(resolve_run("digits", {}).params) == {"hidden": 128}


@pytest.mark.parametrize(
    ("yaml", "flags", "samples", "epochs"),
    [
        ("", {}, 500, None),
        ("samples: 7", {}, 7, None),
        ("epochs: 2", {}, None, 2),
        ("samples: 7", {"epochs": 3.0}, None, 3),
        ("epochs: 2", {"samples": 9}, 9, None),
        ("samples: null\nepochs: 2", {}, None, 2),
        ("samples: null", {}, None, None),
    ],
)
def test_a_budget_in_samples_replaces_one_in_epochs_and_vice_versa(
    write: Write, asked: list[Any], yaml: str, flags: dict[str, Any], samples: int | None, epochs: float | None
) -> None:
    spec = resolve_run(str(write(f"job: digits\n{yaml}\n")), flags)
    assert (spec.samples, spec.epochs) == (samples, epochs)


def test_two_budgets_from_one_source_are_refused(write: Write, asked: list[Any]) -> None:
    with pytest.raises(SpecError, match="give one of them"):
        resolve_run(str(write("job: digits\nepochs: 2\nsamples: 7\n")), {})
    with pytest.raises(SpecError, match="give one of them"):
        resolve_run("digits", {"epochs": 2.0, "samples": 7})


def test_a_file_may_describe_a_comparison(write: Write, asked: list[Any]) -> None:
    path = write("job: digits\nmodes: [async, sync]\nseeds: 2\nseed: 5\n")
    spec = resolve_comparison(str(path), {})
    assert (list(spec.variants), spec.seeds, spec.run.samples) == (["async", "sync"], (5, 6), 500)
    assert resolve_comparison(str(path), {"seeds": (1,), "modes": ("sync",)}).seeds == (1,)
    with pytest.raises(SpecError, match="regatta compare"):
        resolve_run(str(path), {})


def test_a_written_spec_can_be_run_again(write: Write, asked: list[Any]) -> None:
    import yaml

    first = resolve_run("digits", {"workers": 3, "params": {"hidden": "7"}})
    again = resolve_run(str(write(yaml.safe_dump(first.resolved()))), {})
    assert again == first


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "a.yaml").write_text("job: x.py")
    (folder / "b.yml").write_text("job: x.py\ndirectory: jobs")
    (folder / "c.yaml").write_text("job: x.py\ndirectory: /elsewhere")
    monkeypatch.chdir(tmp_path)
    found = [resolve_run(f"deep/{name}", {}).directory for name in ("a.yaml", "b.yml", "c.yaml")]
    assert found == [str(folder), str(folder / "jobs"), "/elsewhere"]
    assert resolve_run("x.py", {}).directory == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("jobb: digits", "jobb", "did you mean 'job'?"),
        ("workers: 2", "job", "name a built-in job"),
        ("job: 5", "job", "5 is not allowed"),
        ("job: null", "job", "None is not allowed"),
        ("job: digits\nworkers: 0", "workers", "greater than or equal to 1"),
        ("job: digits\nparams: [1]", "params", "a mapping of names"),
        ("job: digits\ndirectory: null", "directory", "valid string"),
        ("job: x.py\ndirectory: 'a\\0b'", None, None),
        ('job: x.py\ndirectory: "a\\0b"', "directory", "control characters"),
        ('job: "a\\e[31m"', "job", "control characters"),
    ],
)
def test_a_wrong_field_is_refused_before_the_job_is_loaded(
    write: Write, asked: list[Any], text: str, field: str | None, message: str | None
) -> None:
    path = write(text)
    if message is None:
        resolve_run(str(path), {})  # in single quotes, a backslash is not an escape
        return
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        resolve_run(str(path), {})
    assert caught.value.field == field
    assert asked == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must contain fields"),
        ("digits", "must contain fields"),
        ("- job", "must contain fields"),
        ("job: !!python/object/apply:os.system ['touch pwned']", "tags are not allowed"),
        ("job: !!python/name:os.system", "tags are not allowed"),
        ("job: digits\nparams: {hidden: !mine 3}", "!mine: tags are not allowed (line 2, column 18)"),
        ("job: digits\nworkers: 2\nworkers: 3", "'workers' is given twice (line 3, column 1)"),
        ("job: digits\nparams: {a: 1, a: 2}", "'a' is given twice"),
        ("job: digits\nparams: &p {hidden: *p}", "aliases are not allowed"),
        ("job: digits\nparams: {a: &a [x, x], b: [*a, *a]}", "aliases are not allowed"),
        ("job: digits\n5: 3", "'5' as a key"),
        ("job: digits\nyes: 3", "'yes' as a key"),
        ("job: digits\nparams: {2024-01-01: 3}", "'2024-01-01' as a key"),
        ("job: digits\nparams: {[a]: 3}", "a list or mapping as a key"),
        ("job: digits\nparams: {<<: {a: 1}}", "'<<' as a key"),
        ("job: digits\nparams: {a: 1, {b: 2}: 3}", "a list or mapping as a key"),
        ("job: digits\n---\njob: linear", "another document"),
        ("job: [digits", "line 1, column"),
        ("job: 'digits", "unexpected end of stream"),
        ("\tjob: digits", "line 1"),
        ("job: digits\n\0", "special characters"),
        ("job: " + "[" * 500, "nested too deeply"),
        ("job: " + "{a: " * 500, "nested too deeply"),
        ("samples: " + "9" * 5000, "too long for a number"),
    ],
)
def test_hostile_files(write: Write, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_mapping(write(text))
    assert str(tmp_path / "spec.yaml") in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    assert list(tmp_path.iterdir()) == [tmp_path / "spec.yaml"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"job: d\xefgits")
    (tmp_path / "huge.yaml").write_text("#" * (MAX_SPEC_BYTES + 1))
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name, message in [
        ("none.yaml", "There is no spec file"),
        ("folder.yaml", "Is a directory"),
        ("latin.yaml", "utf-8"),
        ("huge.yaml", "larger than"),
        ("endless.yaml", "not a regular file"),
        ("loop.yaml", "symbolic links"),
        ("a\0b.yaml", "null byte"),
    ]:
        with pytest.raises(UsageError, match=message):
            read_mapping(tmp_path / name)


SNIPPETS = st.sampled_from([
    "job: digits", "a: b", "\n", " ", "- ", "{", "}", "[", "]", ",", ": ", "&a", "*a", "!!int ", "!x ", "'", '"', "|",
    ">", "#", "? ", "<<: ", "---", "...", "%YAML 1.1", "\t", "1", "0x", "1e3", ".nan", "~", "2024-01-01", "2024-13-45",
    "\0", "\x85", "é", "\ufeff", "==", "=", "0b_", "1:2",
])  # fmt: skip


@given(st.lists(SNIPPETS, max_size=12).map("".join).map(str.encode) | st.binary(max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_mapping_of_text_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    try:
        values = read_mapping(path)
    except UsageError:
        return
    assert all(isinstance(key, str) for key in values)
    json.dumps(values, default=str)


# From here on, jobs are loaded in a real child process.

ONE_JOB = """
from jobs.api import Job
class Mine(Job):
    "One line.\\n\\nAnd more."
    class Params(Job.Params):
        hidden: int = 3
        text: str = ""
"""


def test_a_job_is_described(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ONE_JOB + "    defaults = {'samples': 9}\n")
    found = describe_job("mine.py", str(tmp_path), {"hidden": "7"})
    assert (found.name, found.summary) == ("Mine", "One line.")
    assert (dict(found.defaults), dict(found.params)) == ({"samples": 9}, {"hidden": 7, "text": ""})
    assert "hidden" in found.schema["properties"]


@pytest.mark.parametrize(
    ("job", "params", "field", "message"),
    [
        ("digit", {}, "job", "did you mean 'digits'?"),
        ("none.py:Mine", {}, "job", "no file"),
        ("digits", {"hiden": 1}, "params.hiden", "did you mean 'hidden'?"),
        ("digits", {"hidden": "many"}, "params.hidden", "'many' is not allowed"),
    ],
)
def test_errors_about_a_job_name_the_field(
    tmp_path: Path, job: str, params: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        describe_job(job, str(tmp_path), params)
    assert caught.value.field == field
    assert not caught.value.message.startswith("job: job")


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.write('x' * 300_000); sys.stderr.write('y' * 300_000)",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        "import subprocess; subprocess.Popen(['sleep', '3'])",
        "import sys; assert sys.stdin.read() == ''",
        "import atexit, time; atexit.register(time.sleep, 60)",
        "import sys; sys.stderr.close(); sys.stdout.close()",
    ],
    ids=["prints much", "leaves a thread", "leaves a process", "reads input", "ends slowly", "closes its output"],
)
def test_a_module_that_misbehaves_on_import_does_not_block(tmp_path: Path, code: str) -> None:
    (tmp_path / "mine.py").write_text(code + ONE_JOB)
    assert describe_job("mine.py", str(tmp_path), {"text": "z" * 200_000}).name == "Mine"


@pytest.mark.parametrize(
    ("code", "message", "traceback"),
    [
        ("raise KeyError('mine')", "KeyError: 'mine'", 'mine.py", line 1'),
        ("raise SystemExit('enough')", "SystemExit: enough", 'mine.py", line 1'),
        ("import os; os._exit(7)", "ended with code 7", ""),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9", ""),
        (ONE_JOB + "    defaults = 5", "TypeError", "jobs"),
        ("def f(): f()\nf()", "RecursionError", "mine.py"),
    ],
)
def test_a_failing_module_is_reported_as_the_users_error(
    tmp_path: Path, code: str, message: str, traceback: str
) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(JobError, match=re.escape(message)) as caught:
        describe_job("mine.py", str(tmp_path), {})
    assert traceback in caught.value.traceback
    assert "exec_module" not in caught.value.traceback


@pytest.mark.parametrize("default", ["object()", "{1, 2}", "float('nan')"])
def test_invalid_defaults_of_a_job_are_refused(tmp_path: Path, default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(ONE_JOB + f"    defaults = {{'samples': {default}}}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"^samples: "):
        resolve_run("mine.py", {})
    assert resolve_run("mine.py", {"samples": 5}) == RunSpec(
        job="mine.py", directory=str(tmp_path), params={"hidden": 3, "text": ""}, samples=5
    )


@pytest.mark.parametrize("asked", [True, False])
def test_what_a_job_prints_while_it_is_loaded_is_shown_if_it_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], asked: bool
) -> None:
    (tmp_path / "mine.py").write_text("from jobs.api import Job\nprint('reading rows')\nclass Mine(Job): ...\n")
    token = shows_output.set(asked)
    try:
        assert describe_job("mine.py", str(tmp_path), {}).name == "Mine"
    finally:
        shows_output.reset(token)
    assert capfd.readouterr() == ("", "reading rows\n" if asked else "")
